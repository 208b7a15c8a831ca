"""The worker deployment: takes jobs from the queue and runs their graphs over the models' handles."""

import asyncio
import logging
from typing import Any, cast

import ray
from ray import serve

from ..config.loading import load_graphs
from ..config.schema import AppConfig
from ..models.registry import bind_models
from .runtime import open_runner

log = logging.getLogger("ray.serve")
POLL_S = 0.05


class Worker:
    """A replica that takes jobs from the queue and runs them.

    Args:
        config: the profile's `args`.
        handles: the models' Serve handles by name.
    """

    def __init__(self, config: AppConfig, handles: dict[str, Any]) -> None:
        replica = serve.get_replica_context().replica_tag
        self._runner = open_runner(
            config, load_graphs(config.graphs), bind_models(config, handles), f"worker-{replica}"
        )
        draining()  # a Ray that keeps the flag elsewhere fails at the start, not at the first rolling update
        self._watching = asyncio.create_task(self._hand_over_when_draining())

    async def work(self) -> None:
        """Run jobs, one after the other, until none is ready. Each call is one slot."""
        while not self._runner.stopped:
            claimed = await self._runner.claim()
            if claimed is None:
                return
            await self._runner.run(claimed)

    async def __del__(self) -> None:
        await self._runner.stop()

    async def _hand_over_when_draining(self) -> None:
        """Hand the jobs over when Serve drains the replica: it waits for running calls, and a job may take an hour."""
        while not draining():  # noqa: ASYNC110  # nothing sets an event
            await asyncio.sleep(POLL_S)
        await self._runner.stop()


def draining() -> bool:
    """Whether Serve is ending this replica. Serve has no public API for this, so its private flag is read (Ray 2.60).

    Raises:
        AttributeError, KeyError: Ray keeps the flag elsewhere now; `tests/unit/test_worker.py` fails too.
    """
    process: Any = cast(Any, ray)._private.worker.global_worker
    return bool(process.actors[process.actor_id]._replica_impl._shutting_down)
