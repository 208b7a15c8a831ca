"""The runtime that the gateway and the workers share: the database, the artifacts and a runner over them."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from ..config.schema import AppConfig
from ..config.settings import Settings
from ..errors import StorageUnavailable
from ..graph import Graph
from ..models.methods import Method
from ..models.registry import Model, Models
from ..storage.artifacts import Artifacts, open_signing_key
from ..storage.database import Database
from ..webhooks.delivery import Deliverer
from .cleanup import ORPHANS, clean
from .job import CLEANUP, WEBHOOK
from .runner import Runner

log = logging.getLogger("ray.serve")
STARTUP_TIMEOUT_S = 120.0  # with a database that starts at the same time
REVISION = Method(streams=False, by_reference=False, returns=str, sampled=False)


def open_database(settings: Settings) -> Database:
    """The database with this version's tables. Blocks, and waits up to `STARTUP_TIMEOUT_S` for it to answer.

    Raises:
        InvalidConfig: the URL cannot be used.
        StorageUnavailable: the database does not answer.
    """
    database = Database(settings.database_url)
    began = time.monotonic()
    while True:
        try:
            database.upgrade()
            return database
        except StorageUnavailable as error:
            if time.monotonic() - began > STARTUP_TIMEOUT_S:
                raise
            log.warning("waiting for the database: %s", error)
            time.sleep(1)


def open_artifacts(settings: Settings, database: Database, keep_s: float) -> Artifacts:
    return Artifacts(database, settings.artifacts_url, open_signing_key(settings), keep_s)


def open_runner(config: AppConfig, graphs: Mapping[str, Graph[..., Any]], models: Models, owner: str) -> Runner:
    """A runner, made from the profile and the environment. Call it while an event loop runs."""
    settings = Settings.from_environment()
    database = open_database(settings)
    artifacts = open_artifacts(settings, database, config.jobs.keep_s)
    deliverer = Deliverer(database, config.jobs.private_webhooks)

    async def clean_up(task: str) -> None:
        if task == ORPHANS:
            await asyncio.to_thread(artifacts.delete_orphans_here)
        else:
            await asyncio.to_thread(clean, database, artifacts, config.jobs)

    handlers = {WEBHOOK: deliverer.deliver, CLEANUP: clean_up}
    return Runner(database, artifacts, graphs, models, config.jobs, owner, handlers, revision)


async def revision(model: Model) -> str:
    """The revision that a model's replica reports: a digest of its code, options and weights."""
    return await model.caller("revision", REVISION)()
