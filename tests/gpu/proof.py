"""The bundle's tests, run part by part within five minutes: `python -m tests.gpu.proof`. A table is printed at the end.

Exit status 1 if a test failed or a group ran out of time. Needs torch, transformers and the bundle's wheels.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .groups import BUDGET_S, PARTS
from .table import NOT_RUN, rows_of, table
from .tally import EVENTS, PART, TESTS

BEGUN, RESULTS = "MEDLEY_BUNDLE_BEGUN", "MEDLEY_BUNDLE_RESULTS"
TEST_S = 90  # for one test
END_S = 10  # for ending what runs, and for the table
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "tests.gpu.tally")  # whatever else the machine has


def main() -> int:
    begun = float(os.environ.get(BEGUN, time.time()))
    ended: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder, "events.jsonl")
        events.touch()
        for part in PARTS:
            left = BUDGET_S - END_S - (time.time() - begun)
            if why := run(part, events, left) if left > END_S else "the five minutes were over":
                ended[part] = why
        said: list[dict[str, Any]] = list(map(json.loads, events.read_text().splitlines()))
    rows = rows_of(said, ended)
    machine = next((event["machine"] for event in said if event["event"] == "begun"), "no part began")
    print("\n".join(["", machine, *table(rows)]))
    wall = time.time() - begun
    print(f"\n{wall:.0f} s of {BUDGET_S} were used")
    write({"machine": machine, "seconds": wall, "groups": {name: asdict(row) for name, row in rows.items()}})
    return int(any(row.counts["failed"] + row.counts[NOT_RUN] for row in rows.values()))


def run(part: str, events: Path, seconds: float) -> str | None:
    """Run a part's tests in a process of their own; why it ended early, if it did."""
    files = dict.fromkeys(str(TESTS / f"{group.file}.py") for group in PARTS[part] if not group.lacks)
    plugins = [argument for plugin in PLUGINS for argument in ("-p", plugin)]
    quiet = ["-q", "--no-header", "--tb=short", "--color=no", "-p", "no:cacheprovider", f"--timeout={TEST_S}"]
    named = os.environ | {PART: part, EVENTS: str(events), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    print(f"== {part}: {seconds:.0f} s are left", flush=True)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, *quiet, *files], env=named, cwd=TESTS.parent, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return "the five minutes were over"
    return None if done.returncode in (0, 1) else f"pytest ended with {done.returncode}, see above"


def write(results: dict[str, Any]) -> None:
    """Leave them as JSON where the environment says, if it does."""
    if target := os.environ.get(RESULTS):
        Path(target).write_text(json.dumps(results, indent=1))
        print(f"results: {target}")


if __name__ == "__main__":
    sys.exit(main())
