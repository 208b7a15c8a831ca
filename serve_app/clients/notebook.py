"""Medley over handles, for notebooks and batches beside a running service.

    medley = Medley.connect()
    result = await medley.graphs.speech_to_image(audio=recording, style="watercolour")
    async for delta in medley.graphs.chat.stream(messages=[{"role": "user", "content": "Hello"}]):
        print(delta.text, end="")
    reply = await medley.models["starter-writer"].chat([Message(role="user", content="Hello")])

It must be able to reach the Ray cluster (on the same machine, or from inside the cluster); over HTTP, use any HTTP
client. A graph runs in this process, over the models' handles; a graph with a price runs as a job of the service, which
reserves the credits.
"""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import logging
import math
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from deployments.errors import MedleyError

from ..errors import UnknownName, invalid_request
from ..graph import Graph
from ..identity import Identity

if TYPE_CHECKING:  # they import Ray, which reads its environment on import
    from ..config.schema import AppConfig
    from ..models.registry import Models
    from ..run import Executor
    from ..steps import Step

OnStep = Callable[["Step"], None]


class Medley:
    """The graphs and models of a running Medley, called over handles.

    Args:
        config: the running profile's `args`.
        models: the profile's models.
        on_step: called with each step of each run when it starts, advances and ends.
        gateway: Serve's handle of the gateway, which runs graphs that cost credits.
        user: the user that runs act for.
    """

    def __init__(
        self,
        config: "AppConfig",
        models: "Models",
        on_step: OnStep | None = None,
        gateway: Any = None,
        user: str = "local",
    ) -> None:
        from ..config.loading import load_graphs
        from ..run import Executor

        executor = Executor(models, config.jobs.prices)
        self.graphs = Graphs(load_graphs(config.graphs), executor, Identity(user), on_step, gateway)
        self.models = HandledModels(models)

    @classmethod
    def connect(cls, address: str | None = None, on_step: OnStep | None = None, user: str = "local") -> "Medley":
        """Connect to a running Medley.

        Args:
            address: the address of Ray; by default the Ray of this process, else the one that `medley up` started.
            on_step: called with each step of each run when it starts, advances and ends.
            user: the user that runs act for.

        Raises:
            MedleyError: no Medley runs there.
        """
        # Ray reads these on import. With the environment that makes Serve fast, a driver's handles die with its first
        # event loop (measured); the first variable prevents that. The second makes Ray present its token.
        os.environ.setdefault("RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP", "1")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        import ray
        from ray import serve

        from ..config.schema import APPLICATION
        from ..config.settings import Settings
        from ..models.registry import bind_models
        from ..provisioning.local_cluster import running
        from ..provisioning.ray_environment import keep_to_loopback

        if not ray.is_initialized():
            state = running(Settings.from_environment())
            address = address or os.environ.get("RAY_ADDRESS") or (state.address if state else None)
            if not address:
                raise MedleyError("No Medley runs on this machine. Start it with `medley up`, or pass Ray's address.")
            keep_to_loopback(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        gateway = serve.get_app_handle(APPLICATION)
        # In a thread, because Serve refuses to block a thread with an event loop, which every notebook has.
        with ThreadPoolExecutor(1) as thread:
            config: AppConfig = thread.submit(lambda: gateway.profile.remote().result(timeout_s=30)).result()
        hosts = [model.name for model in config.models if model.host is None]
        handles = {name: serve.get_deployment_handle(name, APPLICATION) for name in hosts}
        return cls(config, bind_models(config, handles), on_step, gateway, user)


class Graphs:
    """The graphs as attributes: `await graphs.speech_to_image(audio=..., style=...)`."""

    def __init__(
        self,
        graphs: dict[str, Graph[..., Any]],
        executor: "Executor",
        identity: Identity,
        on_step: OnStep | None,
        gateway: Any,
    ) -> None:
        self._graphs, self._executor, self._identity = graphs, executor, identity
        self._on_step, self._gateway = on_step, gateway

    def __dir__(self) -> list[str]:
        return list(self._graphs)

    def __getitem__(self, name: str) -> Graph[..., Any]:
        if name not in self._graphs:
            raise UnknownName("graph", name, self._graphs)
        return self._graphs[name]

    def __getattr__(self, name: str) -> "GraphCaller":
        if name.startswith("_"):
            raise AttributeError(name)
        return GraphCaller(self[name], self._executor, self._identity, self._on_step, self._gateway)


class GraphCaller:
    """A graph to call with the fields of its request; `models={"painter": name}` names models."""

    def __init__(
        self,
        graph: Graph[..., Any],
        executor: "Executor",
        identity: Identity,
        on_step: OnStep | None,
        gateway: Any,
    ) -> None:
        self._graph, self._executor, self._identity = graph, executor, identity
        self._on_step, self._gateway = on_step, gateway

    async def __call__(self, /, **fields: Any) -> Any:
        """The graph's result.

        Raises:
            MedleyError: a field is invalid, the user has too few credits, or no model could answer.
        """
        call, result = await self._checked(fields), None
        if self._executor.price(self._graph):
            async for name, value in self._on_gateway(call, streams=False):
                result = value if name == "result" else result
            return result
        return await self._run(call, streams=False).result()

    async def stream(self, /, **fields: Any) -> AsyncGenerator[Any]:
        """The pieces of a graph that streams, as they come; for any other graph its result.

        Raises:
            MedleyError: as `__call__`.
        """
        call = await self._checked(fields)
        if self._executor.price(self._graph):
            async for name, value in self._on_gateway(call, streams=True):
                if name == ("piece" if self._graph.piece else "result"):
                    yield value
            return
        async with aclosing(self._run(call, streams=True).pieces()) as pieces:
            async for piece in pieces:
                yield piece

    async def _checked(self, fields: dict[str, Any]) -> BaseModel:
        try:
            return await asyncio.to_thread(self._graph.call.model_validate, fields)
        except ValidationError as error:
            raise invalid_request(error, self._graph.fields) from None

    def _run(self, call: BaseModel, streams: bool) -> Any:
        observers = (_Steps(self._on_step),) if self._on_step else ()
        return self._executor.execute(self._graph, call, self._identity, observers=observers, streams=streams)

    async def _on_gateway(self, call: BaseModel, streams: bool) -> AsyncGenerator[tuple[str, Any]]:
        """The events of a job of the service: `step` and `piece`, then its `result`."""
        from ..steps import cause_of

        events = self._gateway.options(method_name="execute", stream=True).remote(
            self._graph.name, call.model_dump(), self._identity, streams
        )
        try:
            async for name, value in events:
                if name == "step" and self._on_step:
                    self._on_step(value)
                yield name, value
        except Exception as error:
            raise cause_of(error) from None


class _Steps:
    """An observer that passes each step to a function."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step

    def step(self, step: "Step") -> None:
        self._on_step(step)

    def piece(self, piece: BaseModel) -> None:
        """Ignore a piece: the caller gets it from the iterator."""


class HandledModels:
    """The models by name, each with its capability's methods; calls are retried like a graph's steps."""

    def __init__(self, models: "Models") -> None:
        self._models = models

    def __iter__(self) -> Iterator[str]:
        return (model.name for model in self._models.all)

    def __getitem__(self, name: str) -> Any:
        from ..run import Proxy
        from ..steps import Steps

        model = self._models.named(name)
        return Proxy(Steps(self._models, (), None, math.inf), name, model.capabilities[0], (model,))
