"""What every part of the benchmark leaves: a table, and `.bench/PART.json` with rows and the machine."""

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


def update_readme(path: Path = Path("README.md")) -> None:
    """Put the rows that have a target, and medians, of every part into the README."""
    lines = ["| figure | value | target | met |", "|---|---|---|---|"]
    for file in sorted(Path(".bench").glob("*.json")):
        document = json.loads(file.read_text())
        for row in document["rows"]:
            met = {None: "", True: "yes", False: "**no**"}[row["met"]]
            lines.append(f"| {row['name']} | {row['value']:.3g} {row['unit']} | {row['target'] or ''} | {met} |")
        where, day = document["machine"], document["date"][:10]
        lines.append(f"\n{day}, {where['cores']} cores, {where['memory_gib']} GiB, Python {where['python']}.")
    head, begin, rest = path.read_text().partition("<!-- bench:begin -->\n")
    _, end, tail = rest.partition("<!-- bench:end -->")
    path.write_text(head + begin + "\n".join(lines) + "\n" + end + tail)
