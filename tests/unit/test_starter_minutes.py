"""The starter models' trainings together keep to three hours."""

import re
from pathlib import Path

MOST_MINUTES = 180


def test_the_default_trainings_take_at_most_three_hours() -> None:
    scripts = sorted(Path("deployments/starter").glob("*/train.py"))
    minutes = [re.findall(r'"--minutes", type=float, default=([\d.]+)', path.read_text()) for path in scripts]
    assert sum(float(found) for one in minutes for found in one) <= MOST_MINUTES
    assert sum(map(len, minutes)) == len(scripts) - 1  # the ears are counted, not trained: seconds
