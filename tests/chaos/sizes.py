"""How long the tests of this folder run: seconds, or with MEDLEY_CHAOS=long minutes."""

import os

LONG = os.environ.get("MEDLEY_CHAOS") == "long"


def size(short: int, long: int) -> int:
    """A count for this run."""
    return long if LONG else short
