"""Medley over handles, for notebooks and batches beside a running service.

    medley = Medley.connect()
    result = await medley.graphs.speech_to_image(audio=recording, style="watercolour")
    reply = await medley.models["starter-writer"].chat([Message(role="user", content="Hello")])

Needs a way to the Ray cluster (the same machine, or inside it); over HTTP use any HTTP client.
"""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from deployments.errors import MedleyError

from ..errors import UnknownName, invalid_request
from ..graph import MODELS_FIELD, Graph
from ..models.registry import Models

if TYPE_CHECKING:
    from ..config.schema import AppConfig
    from ..run import Step


class Medley:
    """Every graph and every model of a running Medley, by handle."""

    def __init__(self, config: "AppConfig", models: Models, on_step: "Callable[[Step], None] | None" = None) -> None:
        from ..config.loading import load_graphs

        self.graphs = Graphs(load_graphs(config.graphs), models, on_step)
        self.models = HandledModels(models)

    @classmethod
    def connect(cls, address: str | None = None, on_step: "Callable[[Step], None] | None" = None) -> "Medley":
        """Connect to a running Medley.

        Args:
            address: of Ray; without it the one this process is in, else the one `medley up` started.
            on_step: told of each step of each run when it starts and ends.

        Raises:
            MedleyError: none runs.
        """
        # Ray reads these on import. With its speed knobs a driver's handles die with its first event loop (measured);
        # with the first they do not. The second lets it present its token.
        os.environ.setdefault("RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP", "1")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        import ray
        from ray import serve

        from ..config.schema import APPLICATION
        from ..config.settings import Settings
        from ..models.registry import bind_models
        from ..provisioning.local_cluster import running

        if not ray.is_initialized():
            state = running(Settings.from_environment())
            address = address or os.environ.get("RAY_ADDRESS") or (state.address if state else None)
            if not address:
                raise MedleyError("No Medley runs here. Start one with `medley up`, or give Ray's address.")
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        gateway = serve.get_app_handle(APPLICATION)
        # In a thread, because Serve refuses to wait where an event loop runs, as one does in every notebook.
        with ThreadPoolExecutor(1) as thread:
            config: AppConfig = thread.submit(lambda: gateway.profile.remote().result(timeout_s=30)).result()
        hosts = [model.name for model in config.models if model.shares is None]
        handles = {name: serve.get_deployment_handle(name, APPLICATION) for name in hosts}
        return cls(config, bind_models(config, handles), on_step)


class Graphs:
    """The graphs as methods: `await graphs.speech_to_image(audio=..., style=...)`."""

    def __init__(
        self, graphs: dict[str, Graph[..., Any]], models: Models, on_step: "Callable[[Step], None] | None"
    ) -> None:
        self._graphs, self._models, self._on_step = graphs, models, on_step

    def __dir__(self) -> list[str]:
        return list(self._graphs)

    def __getitem__(self, name: str) -> Graph[..., Any]:
        if name not in self._graphs:
            raise UnknownName("graph", name, self._graphs)
        return self._graphs[name]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._run, self[name])

    async def _run(self, graph: Graph[..., Any], /, **fields: Any) -> Any:
        """The graph's result for these fields of its request; `models={"painter": name}` names models.

        Raises:
            MedleyError: a field is wrong, or no model could answer.
        """
        from ..run import Run

        try:
            call = await asyncio.to_thread(graph.call.model_validate, fields)
        except ValidationError as error:
            raise invalid_request(error, graph.fields) from None
        chosen = getattr(call, MODELS_FIELD).model_dump(exclude_none=True)
        return await Run(self._models, chosen, self._on_step).execute(graph, call)


class HandledModels:
    """Single models by name, each with its capability's methods; the calls are retried like a graph's steps."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def __iter__(self) -> Any:
        return (model.name for model in self._models.all)

    def __getitem__(self, name: str) -> Any:
        from ..run import Run

        model = self._models.named(name)
        return Run(self._models, {name: name}).model(name, model.capabilities[0])
