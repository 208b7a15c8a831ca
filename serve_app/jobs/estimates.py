"""How far a run is and how long it still takes, from what the graph's last runs were made of."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from ..run import Step
from ..storage.database import insert_new
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
        self._steps: dict[str, Step] = {}

    def follow(self, step: Step) -> None:
        self._steps[step.name] = step

    @property
    def steps(self) -> list[Step]:
        """Every step so far, in the order they began."""
        return list(self._steps.values())

    def progress(self) -> dict[str, Any]:
        """`step` that runs, `done` of `steps`, `fraction` (0 to 1) and `eta_seconds`; None where nothing is known."""
        done = [step for step in self._steps.values() if step.status == "succeeded"]
        running = [step for step in self._steps.values() if step.status == "running"]
        usual = round(sum(one.per_run for kind in self._past.values() for one in kind))
        left = self._left(done, running) if self._past else None
        spent = sum(step.seconds for step in done) + sum(time.time() - step.started for step in running)
        fraction = None if left is None else round(spent / (spent + left), 3) if spent + left > 0 else 0.0
        return {
            "step": running[-1].name if running else None,
            "done": len(done),
            "steps": max(usual, len(self._steps)),
            "fraction": fraction,
            "eta_seconds": None if left is None else round(left, 2),
        }

    def _left(self, done: list[Step], running: list[Step]) -> float:
        begun: dict[str, int] = defaultdict(int)
        left = 0.0
        for step in (*done, *running):
            begun[call_of(step)] += 1
        for step in running:
            left += max(0.0, self._seconds(call_of(step), step.model) - (time.time() - step.started))
        for call, kinds in self._past.items():
            missing = sum(one.per_run for one in kinds) - begun[call]
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
