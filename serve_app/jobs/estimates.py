"""How far a run is and how long it still takes, from what the graph's last runs were made of."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from ..steps import Step
from ..storage.compiled_statement import insert_new
from ..storage.tables import durations

WEIGHT = 0.2  # of the newest run in a running mean


@dataclass(frozen=True)
class Usual:
    """One kind of step of a graph: how long it takes on a model, and how many a run has."""

    model: str
    seconds: float
    per_run: float


Past = Mapping[str, tuple[Usual, ...]]  # by call, `parameter.method`


class Estimate:
    """Of one run; `past` is empty until a run of the graph has ended once."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._usual = round(sum(one.per_run for kind in past.values() for one in kind))
        self._steps: dict[str, Step] = {}
        self._running: dict[str, Step] = {}
        self._begun: Counter[str] = Counter()  # by call; sums, because a run may have a thousand steps
        self._done, self._spent = 0, 0.0

    def follow(self, step: Step) -> None:
        if step.name not in self._steps:
            self._steps[step.name] = step
            self._begun[call_of(step)] += 1
        if step.status == "running":
            self._running[step.name] = step
            return
        self._running.pop(step.name, None)
        if step.status == "succeeded":
            self._done, self._spent = self._done + 1, self._spent + step.seconds
        else:
            self._begun[call_of(step)] -= 1

    @property
    def steps(self) -> list[Step]:
        """Every step so far, in the order they began."""
        return list(self._steps.values())

    def progress(self) -> dict[str, Any]:
        """`step` that runs, `done` of `steps`, `fraction` (0 to 1) and `eta_seconds`; None where nothing is known."""
        left = self._left() if self._past else None
        spent = self._spent + sum(time.time() - step.started for step in self._running.values())
        fraction = None if left is None else round(spent / (spent + left), 3) if spent + left > 0 else 0.0
        return {
            "step": next(reversed(self._running), None),
            "done": self._done,
            "steps": max(self._usual, len(self._steps)),
            "fraction": fraction,
            "eta_seconds": None if left is None else round(left, 2),
        }

    def _left(self) -> float:
        left = 0.0
        for step in self._running.values():
            took = time.time() - step.started
            if step.fraction:
                left += took / step.fraction - took
            else:
                left += max(0.0, self._seconds(call_of(step), step.model) - took)
        for call, kinds in self._past.items():
            missing = sum(one.per_run for one in kinds) - self._begun[call]
            left += max(0.0, missing) * self._seconds(call, kinds[0].model)
        return left

    def _seconds(self, call: str, model: str) -> float:
        kinds = self._past.get(call, ())
        same = [one.seconds for one in kinds if one.model == model]
        return same[0] if same else max((one.seconds for one in kinds), default=0.0)


def call_of(step: Step) -> str:
    return step.name.partition("-")[0]


def load(connection: Connection, graph: str) -> dict[str, tuple[Usual, ...]]:
    """What the graph's runs usually are, the models most used first."""
    found: dict[str, tuple[Usual, ...]] = {}
    query = select(durations).where(durations.c.graph == graph).order_by(durations.c.per_run.desc())
    for row in connection.execute(query):
        found[row.call] = (*found.get(row.call, ()), Usual(row.model, row.seconds, row.per_run))
    return found


def learn(connection: Connection, graph: str, steps: list[Step]) -> None:
    """Take a run that succeeded into the means."""
    kinds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for step in steps:
        if step.status == "succeeded" and not step.cached:
            kinds[call_of(step), step.model].append(step.seconds)
    for (call, model), seconds in kinds.items():
        mean = sum(seconds) / len(seconds)
        row = {"graph": graph, "call": call, "model": model}
        here = update(durations).where(*(durations.c[name] == value for name, value in row.items()))
        moved = here.values(
            seconds=durations.c.seconds * (1 - WEIGHT) + mean * WEIGHT,
            per_run=durations.c.per_run * (1 - WEIGHT) + len(seconds) * WEIGHT,
        )
        if not connection.execute(moved).rowcount:
            connection.execute(insert_new(connection, durations, **row, seconds=mean, per_run=float(len(seconds))))
