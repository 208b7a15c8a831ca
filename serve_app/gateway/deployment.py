"""The gateway: the one deployment that speaks HTTP. It validates requests and runs graphs over the models' handles."""

import importlib
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import ray.util
from ray import serve
from starlette.types import ASGIApp

from ..accounts.keys import SingleKey, open_key
from ..config.loading import load_graphs
from ..config.schema import AppConfig
from ..config.settings import Settings
from ..identity import Identity
from ..jobs.dispatch import Dispatch
from ..jobs.runtime import open_runner
from ..models.registry import bind_models
from ..models.stream_receiver import StreamReceiver
from .http_app import http_app
from .parsing_pool import in_parsing_pool
from .service import Service
from .sync_run import SyncRun


class Gateway:
    """The ingress deployment.

    Args:
        config: the profile's `args`.
        handles: the models' Serve handles by name.
        worker: the workers' Serve handle.
    """

    def __init__(self, config: AppConfig, handles: dict[str, Any], worker: Any) -> None:
        self.config = config
        node = ray.util.get_node_ip_address()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        # If Ray uses TLS, the items of streams go over Serve, which is encrypted; a stream receiver is not.
        encrypted = os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")
        self._receiver = None if encrypted else StreamReceiver(str(node))  # pyright: ignore[reportUnknownArgumentType]
        graphs, models = load_graphs(config.graphs), bind_models(config, handles, self._receiver)
        runner = open_runner(config, graphs, models, f"gateway-{serve.get_replica_context().replica_tag}")
        jobs = Dispatch(runner, worker.work.remote)
        self.service = Service(config, graphs, models, jobs)
        for library in (
            "av",
            "PIL.Image",
        ):  # open media; importing them takes a second, which no request should wait for
            importlib.import_module(library)
        settings = Settings.from_environment()
        self._authenticator = SingleKey(open_key(settings)[0])
        self._callback_secret = settings.callback_secret

    def __serve_build_asgi_app__(self) -> ASGIApp:
        # Serve adds the request id to the response.
        return http_app(self.service, self._authenticator, answer_id=False, callback_secret=self._callback_secret)

    async def __del__(self) -> None:
        await self.service.jobs.stop()
        if self._receiver is not None:
            await self._receiver.close()

    async def profile(self) -> AppConfig:
        """The profile's `args`, for clients that connect over a handle."""
        return self.config

    async def execute(
        self, graph: str, fields: dict[str, Any], identity: Identity, streams: bool
    ) -> AsyncGenerator[tuple[str, Any]]:
        """Run a graph as a job for a client that connects over a handle; yields the events of `SyncRun.events`.

        Raises:
            MedleyError: the run failed, or the user has too few credits.
        """
        definition = self.service.graph(graph)
        call = await in_parsing_pool(definition.call.model_validate, fields)
        run = SyncRun(self.service.jobs, definition, call, identity, streams=streams)
        async with aclosing(run.events()) as events:
            async for event in events:
                yield event
