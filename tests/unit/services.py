"""A gateway and a worker over fake models, in this process and its event loop, with storage of their own."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from deployments.errors import InvalidInput
from serve_app.config.schema import AppConfig
from serve_app.gateway.http_app import http_app
from serve_app.gateway.service import Service
from serve_app.graph import Graph
from serve_app.identity import Identity
from serve_app.jobs.dispatch import Dispatch
from serve_app.jobs.job import CLEANUP, WEBHOOK
from serve_app.jobs.runner import Runner
from serve_app.models.registry import Models
from serve_app.provisioning.ray_environment import free_ports
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id
from serve_app.webhooks.delivery import Deliverer
from tests.jobs.work import Scribe

KEY, OTHER_KEY = "the-key", "the-other-key"
USERS = {KEY: "local", OTHER_KEY: "bob"}
ASYNC = {"prefer": "respond-async"}
RUN, JOBS = "/api/v1/graphs/steps", "/api/v1/jobs"


class Keys:
    """Several users, each with a key."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = {key.encode(): Identity(user) for key, user in users.items()}

    async def identify(self, credential: bytes) -> Identity | None:
        return self._users.get(credential)


def connect(app: ASGIApp, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
    """A client of an app; without headers it has the key."""
    # The framework answers an unforeseen error and raises it again, for the server's log.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    bearer = {"authorization": f"Bearer {KEY}"}
    return httpx.AsyncClient(
        transport=transport, base_url="http://medley", headers=bearer if headers is None else headers
    )


@dataclass(frozen=True)
class Served:
    """One gateway with one worker."""

    service: Service
    app: ASGIApp
    worker: Runner

    @property
    def jobs(self) -> Dispatch:
        return self.service.jobs

    @property
    def database(self) -> Database:
        return self.jobs.database

    def client(self, key: str = KEY) -> httpx.AsyncClient:
        return connect(self.app, {"authorization": f"Bearer {key}"})

    @asynccontextmanager
    async def listening(self, port: int | None = None) -> AsyncIterator[str]:
        """The URL of a real server for it, as long as the block lasts."""
        port = port or free_ports(1).start
        server = uvicorn.Server(uvicorn.Config(self.app, "127.0.0.1", port, log_level="error", lifespan="off"))
        task = asyncio.create_task(server.serve())
        try:
            while not server.started:  # it sets no event
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = server.force_exit = True
            await task

    async def stop(self) -> None:
        await self.worker.stop()
        await self.jobs.stop()
        await asyncio.to_thread(self.database.dispose)


class Services:
    """Makes them, and ends all it made.

    Args:
        folder: for what they keep.
        empty: an SQLite file with the tables: to copy it is quicker than to make them.
    """

    def __init__(self, folder: Path, empty: Path) -> None:
        self._folder, self._empty = folder, empty
        self._made: list[Served] = []

    def make(self, config: AppConfig, graphs: Mapping[str, Graph[..., Any]], models: Models) -> Served:
        """Call it where an event loop runs."""
        home = self._folder / new_id("home")
        home.mkdir()
        shutil.copy(self._empty, home / "medley.db")
        database = Database(f"sqlite:///{home}/medley.db", threads=4)
        artifacts = Artifacts(database, str(home / "artifacts"), b"key of the tests")

        async def clean_up(_: Any) -> None:
            pass

        deliverer = Deliverer(database, config.jobs.private_webhooks)
        handlers = {WEBHOOK: deliverer.deliver, CLEANUP: clean_up}
        gateway = Runner(database, artifacts, graphs, models, config.jobs, new_id("gateway"), handlers)
        worker = Runner(database, artifacts, graphs, models, config.jobs, new_id("worker"), handlers)

        async def work() -> None:
            while not worker.stopped and (claimed := await worker.claim()):
                await worker.run(claimed)

        jobs = Dispatch(gateway, work)
        service = Service(config, graphs, models, jobs)
        self._made.append(Served(service, http_app(service, Keys(USERS)), worker))
        return self._made[-1]

    async def stop(self) -> None:
        for served in self._made:
            await served.stop()


class Author(Scribe):
    """A scribe that refuses what is in `broken`."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(seconds=seconds)
        self.broken: set[str] = set()

    async def _called(self, what: str) -> None:
        if what in self.broken:
            raise InvalidInput("text", "is rude")
        await super()._called(what)


Make = Callable[..., Served]


async def started(client: httpx.AsyncClient, path: str = RUN, headers: Any = None, **body: Any) -> str:
    answer = await client.post(path, json=body, headers={**ASYNC, **(headers or {})})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def until(client: httpx.AsyncClient, id: str, done: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while not done(job := (await client.get(f"{JOBS}/{id}")).json()):
            await asyncio.sleep(0.02)
    return job


async def ended(client: httpx.AsyncClient, id: str, status: str = "succeeded") -> dict[str, Any]:
    job = await until(client, id, lambda job: job["finished_at"])
    assert job["status"] == status, job["error"]
    return job
