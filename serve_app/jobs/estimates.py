"""Progress and remaining time of a run, estimated from the durations of the graph's earlier runs."""

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
    """The mean of one kind of step of a graph: its duration on a model, and how many such steps a run has."""

    model: str
    seconds: float
    per_run: float


Past = Mapping[str, tuple[Usual, ...]]  # by call, `parameter.method`


class Estimate:
    """The estimate for one run; `past` is empty until a run of the graph has succeeded."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._usual = round(sum(usual.per_run for kinds in past.values() for usual in kinds))
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
        """The running `step`, `done` of `steps`, `fraction` (0 to 1) and `eta_seconds`; None where unknown."""
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
            missing = sum(usual.per_run for usual in kinds) - self._begun[call]
            left += max(0.0, missing) * self._seconds(call, kinds[0].model)
        return left

    def _seconds(self, call: str, model: str) -> float:
        kinds = self._past.get(call, ())
        same_model = [usual.seconds for usual in kinds if usual.model == model]
        return same_model[0] if same_model else max((usual.seconds for usual in kinds), default=0.0)


def call_of(step: Step) -> str:
    return step.name.partition("-")[0]


def load(connection: Connection, graph: str) -> dict[str, tuple[Usual, ...]]:
    """The usual steps of a graph's runs by call, the most used models first."""
    past: dict[str, tuple[Usual, ...]] = {}
    query = select(durations).where(durations.c.graph == graph).order_by(durations.c.per_run.desc())
    for row in connection.execute(query):
        past[row.call] = (*past.get(row.call, ()), Usual(row.model, row.seconds, row.per_run))
    return past


def learn(connection: Connection, graph: str, steps: list[Step]) -> None:
    """Update the running means with a run that succeeded."""
    kinds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for step in steps:
        if step.status == "succeeded" and not step.cached:
            kinds[call_of(step), step.model].append(step.seconds)
    for (call, model), seconds in kinds.items():
        mean = sum(seconds) / len(seconds)
        row = {"graph": graph, "call": call, "model": model}
        existing = update(durations).where(*(durations.c[name] == value for name, value in row.items()))
        moved = existing.values(
            seconds=durations.c.seconds * (1 - WEIGHT) + mean * WEIGHT,
            per_run=durations.c.per_run * (1 - WEIGHT) + len(seconds) * WEIGHT,
        )
        if not connection.execute(moved).rowcount:
            connection.execute(insert_new(connection, durations, **row, seconds=mean, per_run=float(len(seconds))))
