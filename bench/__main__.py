"""The benchmark, `python -m bench [PART ...]`; exit status 1 if a target is missed."""

import sys

from . import engines, gateway, hostile, jobs
from .report import update_figures

PARTS = {"gateway": gateway.run, "jobs": jobs.run, "engines": engines.run, "hostile": hostile.run}

if __name__ == "__main__":
    names = [argument for argument in sys.argv[1:] if not argument.startswith("-")] or list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"There is no part {unknown[0]!r}. There are: {', '.join(PARTS)}.")
    rows = [row for name in names for row in PARTS[name]("--quick" in sys.argv)]
    if "--quick" not in sys.argv:
        update_figures()
    sys.exit(any(row.met is False for row in rows))
