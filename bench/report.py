"""The benchmark's figures in the documentation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.starter.figures import Row, at_least, at_most, console, info, save

__all__ = ["Row", "at_least", "at_most", "console", "info", "save", "update_figures"]

README, BENCHMARKS = Path("README.md"), Path("docs/benchmarks.md")

# The six figures of the README: their words there, and the beginning of their names in the benchmark.
FRONT_PAGE = {
    "requests per second without a model, as a multiple of default Ray Serve": "trivial: medley / bare-serve",
    "a chain of three models, beside four HTTP microservices": "chain: medley / microservices",
    "ten spoken clips in batches of 16, beside one by one": "speech, ten clips at once: batches of 16 / one by one",
    "durable jobs per second, beside DBOS on SQLite": "SQLite: trivial jobs, medley / dbos",
    "a killed worker's job goes on after": "SQLite: killed worker's job goes on after",
    "32 streams of tokens, beside vLLM's own server": "language, streaming, 32 callers: medley / vllm serve",
}


def update_figures(measured: Path = Path(".bench")) -> None:
    """Write the figures of each measured part into the documentation; other figures stay."""
    text, rows = BENCHMARKS.read_text(), dict[str, Mapping[str, Any]]()
    for file in sorted(measured.glob("*.json")):
        document = json.loads(file.read_text())
        rows |= {row["name"]: row for row in document["rows"]}
        begin, end = f"<!-- bench:{file.stem} -->\n", "<!-- bench:end -->"
        head, found, rest = text.partition(begin)
        if found:
            text = head + begin + table(document) + end + rest.partition(end)[2]
    BENCHMARKS.write_text(text)
    README.write_text(front_page(README.read_text(), rows))


def front_page(text: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The README with its figures replaced by the measured ones."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        words = line.strip("| ").partition(" |")[0]
        name = FRONT_PAGE.get(words)
        matches = [row for full, row in rows.items() if name and (full == name or full.startswith(f"{name} ("))]
        if matches:
            lines[number] = f"| {words} | {_cells(matches[0])} |"
    return "\n".join(lines)


def table(document: dict[str, Any]) -> str:
    """A part's rows as a table, with the machine and date of the measurement."""
    lines = ["| figure | value | target | met |", "|---|---|---|---|"]
    lines += [f"| {row['name']} | {_cells(row)} |" for row in document["rows"]]
    where, day = document["machine"], document["date"][:10]
    return "\n".join(
        [*lines, "", f"{day}, {where['cores']} cores, {where['memory_gib']} GiB, Python {where['python']}.", ""]
    )


def _cells(row: Mapping[str, Any]) -> str:
    met = {None: "", True: "yes", False: "**no**"}[row["met"]]
    return f"{row['value']:.3g} {row['unit']} | {row['target'] or ''} | {met}"
