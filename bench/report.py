"""The benchmark's figures in the README."""

import json
from pathlib import Path
from typing import Any

from deployments.starter.figures import Row, at_least, at_most, console, info, save

__all__ = ["Row", "at_least", "at_most", "console", "info", "save", "update_readme"]


def update_readme(path: Path = Path("README.md")) -> None:
    """Put the figures of each part that was measured here into its place in the README; the others stay."""
    text = path.read_text()
    for file in sorted(Path(".bench").glob("*.json")):
        begin, end = f"<!-- bench:{file.stem} -->\n", "<!-- bench:end -->"
        head, found, rest = text.partition(begin)
        if found:
            text = head + begin + table(json.loads(file.read_text())) + end + rest.partition(end)[2]
    path.write_text(text)


def table(document: dict[str, Any]) -> str:
    """A part's rows, and where and when they were measured."""
    lines = ["| figure | value | target | met |", "|---|---|---|---|"]
    for row in document["rows"]:
        met = {None: "", True: "yes", False: "**no**"}[row["met"]]
        lines.append(f"| {row['name']} | {row['value']:.3g} {row['unit']} | {row['target'] or ''} | {met} |")
    where, day = document["machine"], document["date"][:10]
    return "\n".join(
        [*lines, "", f"{day}, {where['cores']} cores, {where['memory_gib']} GiB, Python {where['python']}.", ""]
    )
