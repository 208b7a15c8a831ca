"""Runs of graphs, and single model calls as a run makes them, over any models."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from serve_app.config.schema import AUTO
from serve_app.graph import Graph
from serve_app.identity import Identity
from serve_app.models.registry import Models
from serve_app.run import Executor, Proxy, Run, RunOptions
from serve_app.steps import Journal, Step, Steps

ANN = Identity("ann")


class Follower:
    """An observer that calls a function with each step, and keeps the pieces."""

    def __init__(self, on_step: Callable[[Step], None] = lambda step: None) -> None:
        self._on_step = on_step
        self.pieces: list[BaseModel] = []

    def step(self, step: Step) -> None:
        self._on_step(step)

    def piece(self, piece: BaseModel) -> None:
        self.pieces.append(piece)


class Calls:
    """Model calls outside a graph: `await Calls(models).model("writer", Language).chat(...)`.

    Args:
        named: parameter -> name of a model, or auto.
    """

    def __init__(
        self,
        models: Models,
        named: Mapping[str, str] | None = None,
        on_step: Callable[[Step], None] | None = None,
        longest_s: float = math.inf,
        journal: Journal | None = None,
    ) -> None:
        followers = (*((Follower(on_step),) if on_step else ()), *((journal,) if journal else ()))
        self._models, self._named, self._longest_s = models, named or {}, longest_s
        self._steps = Steps(models, followers, journal, longest_s)
        self._run: Run | None = None

    @property
    def steps(self) -> list[Step]:
        return self._run.steps if self._run else self._steps.all

    def model(self, parameter: str, capability: type[Any]) -> Any:
        name = self._named.get(parameter)
        if name in (None, AUTO):
            return Proxy(self._steps, parameter, capability, self._models.offering(capability), name == AUTO)
        return Proxy(self._steps, parameter, capability, (self._models.named(name, capability),))

    async def execute(self, graph: Graph[..., Any], request: BaseModel) -> Any:
        """The result of a graph over these models."""
        call = graph.call.model_validate({**dict(request), "models": dict(self._named)})
        options = RunOptions(timeout_s=self._longest_s)
        self._run = Executor(self._models).execute(graph, call, ANN, options)
        return await self._run.result()
