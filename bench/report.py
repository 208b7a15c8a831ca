"""The benchmark's figures in the README."""

import json
from pathlib import Path

from deployments.starter.figures import Row, at_least, at_most, console, info, save

__all__ = ["Row", "at_least", "at_most", "console", "info", "save", "update_readme"]


def update_readme(path: Path = Path("README.md")) -> None:
    """Put the rows that have a target, and medians, of every part into the README."""
    lines = list[str]()
    for file in sorted(Path(".bench").glob("*.json")):
        document = json.loads(file.read_text())
        lines += ["", "| figure | value | target | met |", "|---|---|---|---|"]
        for row in document["rows"]:
            met = {None: "", True: "yes", False: "**no**"}[row["met"]]
            lines.append(f"| {row['name']} | {row['value']:.3g} {row['unit']} | {row['target'] or ''} | {met} |")
        where, day = document["machine"], document["date"][:10]
        lines.append(f"\n{day}, {where['cores']} cores, {where['memory_gib']} GiB, Python {where['python']}.")
    head, begin, rest = path.read_text().partition("<!-- bench:begin -->\n")
    _, end, tail = rest.partition("<!-- bench:end -->")
    path.write_text(head + begin + "\n".join(lines[1:]) + "\n" + end + tail)
