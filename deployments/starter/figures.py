"""Measured figures beside their targets: a table to read, and `.bench/PART.json` with the rows and the machine."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console(width=130)


@dataclass(frozen=True)
class Row:
    """One figure; `target` says what it must reach, None where it only informs."""

    name: str
    value: float
    unit: str
    target: str | None = None
    met: bool | None = None


def at_least(name: str, value: float, target: float, unit: str = "ratio") -> Row:
    return Row(name, round(value, 3), unit, f">= {target:g}", value >= target)


def at_most(name: str, value: float, target: float, unit: str) -> Row:
    return Row(name, round(value, 3), unit, f"<= {target:g}", value <= target)


def info(name: str, value: float, unit: str) -> Row:
    return Row(name, round(value, 3), unit)


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cores": os.cpu_count(), "memory_gib": round(memory, 1), "python": platform.python_version()}


def save(part: str, rows: list[Row]) -> None:
    """Print the table and write `.bench/PART.json`."""
    table = Table("figure", "value", "unit", "target", "met", title=part)
    for row in rows:
        met = "" if row.met is None else "yes" if row.met else "[red]no[/red]"
        table.add_row(row.name, f"{row.value:g}", row.unit, row.target or "", met)
    console.print(table)
    folder = Path(".bench")
    folder.mkdir(exist_ok=True)
    document = {
        "part": part,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
    }
    (folder / f"{part}.json").write_text(json.dumps(document, indent=2) + "\n")
