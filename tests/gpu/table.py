"""What the bundle found, from the events that its parts wrote: a row for each group, then what failed and why."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .groups import PARTS
from .tally import LATE

NOT_RUN = "not run"
OUTCOMES = ("passed", "failed", "skipped", NOT_RUN)
WIDTH = 42


@dataclass
class Row:
    """A group's tests by what became of them, and what they took."""

    outcomes: dict[str, str] = field(default_factory=dict[str, str])  # by test
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    details: dict[str, str] = field(default_factory=dict[str, str])  # of those that failed, with their traceback
    figures: dict[str, float] = field(default_factory=dict[str, float])
    seconds: float = 0.0
    gib: float = 0.0  # the most that torch held on the GPU during one of its tests

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.outcomes.values())


def rows_of(events: Iterable[dict[str, Any]], ended: dict[str, str]) -> dict[str, Row]:
    """The rows by group, groups without an event included.

    Args:
        ended: why a part's process ended before its tests did, by part.
    """
    rows = {group.name: Row() for groups in PARTS.values() for group in groups}
    lacking = {group.name: group.lacks for groups in PARTS.values() for group in groups}
    why = {group.name: ended.get(part, "") for part, groups in PARTS.items() for group in groups}
    for event in events:
        if event["event"] == "begun":
            continue
        row, test = rows[event["group"]], event["test"]
        if event["event"] == "found":
            row.outcomes[test], row.reasons[test] = NOT_RUN, why[event["group"]] or "its process ended"
            continue
        row.seconds += event["seconds"]
        row.gib = max(row.gib, event["gib"])
        if "outcome" in event and row.outcomes.get(test) != "failed":  # a test whose end fails has failed
            late = event["reason"] == LATE
            row.outcomes[test] = NOT_RUN if late else event["outcome"]
            row.reasons[test] = event["reason"]
            row.figures |= event["figures"]
            row.details |= {test: event["detail"]} if event["detail"] else {}
    for name, row in rows.items():
        if lacks := lacking[name]:
            row.outcomes[name], row.reasons[name] = "skipped", lacks
        elif not row.outcomes:
            row.outcomes[name], row.reasons[name] = NOT_RUN, why[name] or "no test of it was found"
    return rows


def table(rows: dict[str, Row]) -> list[str]:
    """The lines to print."""
    head = f"{'group':{WIDTH}}" + "".join(f"{name:>9}" for name in OUTCOMES) + f"{'seconds':>9}{'peak GiB':>10}"
    lines = [head, "-" * len(head)]
    for name, row in rows.items():
        counts = "".join(f"{row.counts[outcome]:9}" for outcome in OUTCOMES)
        lines.append(f"{name:{WIDTH}}{counts}{row.seconds:9.1f}{row.gib:10.2f}")
    total = sum((row.counts for row in rows.values()), Counter[str]())
    seconds, gib = sum(row.seconds for row in rows.values()), max(row.gib for row in rows.values())
    counts = "".join(f"{total[outcome]:9}" for outcome in OUTCOMES)
    lines += ["-" * len(head), f"{'all':{WIDTH}}{counts}{seconds:9.1f}{gib:10.2f}"]
    figures = {name: value for row in rows.values() for name, value in row.figures.items()}
    if figures:
        lines += ["", "figures", *(f"  {name}: {value:.4g}" for name, value in figures.items())]
    for outcome in ("skipped", NOT_RUN):
        lines += _reasons(rows, outcome)
    failed = [(test, row) for row in rows.values() for test, one in row.outcomes.items() if one == "failed"]
    if failed:
        lines += ["", "failed", *(f"  {test}: {row.reasons[test]}" for test, row in failed)]
    return lines


def _reasons(rows: dict[str, Row], outcome: str) -> list[str]:
    """Why tests were not run, each reason once, with how many it kept out of which group."""
    counted = Counter(
        (name, row.reasons[test]) for name, row in rows.items() for test, one in row.outcomes.items() if one == outcome
    )
    return ["", outcome, *(f"  {name}: {count} x {why}" for (name, why), count in counted.items())] if counted else []
