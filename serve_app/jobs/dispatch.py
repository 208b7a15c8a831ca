"""The gateway's side of jobs: create them, tell the workers, wait for an end, and see that nothing is forgotten.

Workers are told by a call that nobody waits for. It is a hint, the table is the truth: a sweep tells again of whatever
is ready and has no owner. As each running job is one such call, Serve's autoscaling follows the backlog by itself.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from ..errors import StorageUnavailable
from ..storage.artifacts import Artifact
from ..storage.tables import new_id, now
from . import lease, queue, rows
from .events import Tail
from .job import CLEANUP, SYSTEM, Job, NewJob
from .runner import Runner

log = logging.getLogger("ray.serve")
SWEEP_S = 0.2
MOST_CALLS = 64  # to workers at once, from one gateway: each runs jobs until none is left
CLEAN_EVERY_S = 300


class Dispatch:
    """
    Args:
        runner: for the runs that begin in this process, over the same database as the workers.
        call_worker: asks some worker to run jobs until none is left; awaited, it returns when that is so.
    """

    def __init__(self, runner: Runner, call_worker: Callable[[], Any]) -> None:
        self.runner = runner
        self.database = runner.database
        self.artifacts = runner.artifacts
        self.config = runner.config
        self.tail = Tail(self.database)
        self._call_worker = call_worker
        self._calls: set[asyncio.Task[None]] = set()
        self._sweeping = asyncio.create_task(self._sweep())

    async def create(self, new: NewJob, artifacts: Sequence[Artifact] = ()) -> tuple[Job, bool]:
        """A queued job, and whether it is new; see `queue.create`."""
        job, made = await self.database.write(queue.create, new, artifacts)
        if made:
            self.tell_workers()
        return job, made

    async def retry(self, user: str, job_id: str) -> Job:
        """See `queue.retry`."""
        job = await self.database.write(queue.retry, user, job_id)
        self.tell_workers()
        return job

    def tell_workers(self) -> None:
        """One more call, unless as many are under way as any backlog needs."""
        if len(self._calls) < MOST_CALLS:
            task = asyncio.create_task(self._call())
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def stop(self) -> None:
        """Hand over what runs here."""
        self._sweeping.cancel()
        self.tail.stop()
        await self.runner.stop()

    async def _call(self) -> None:
        with contextlib.suppress(Exception):  # a worker was lost with the call: the sweep sees what it leaves
            await self._call_worker()

    async def _sweep(self) -> None:
        cleaned = 0.0
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                for _ in range(await self.database.read(lease.ready, self.runner.terms, MOST_CALLS)):
                    self.tell_workers()
                if time.monotonic() - cleaned > CLEAN_EVERY_S / 2:
                    await self.database.write(_schedule_cleanup)
                    cleaned = time.monotonic()
            except StorageUnavailable as error:
                log.warning("the queue was not looked at: %s", error)
                await asyncio.sleep(1)
            except Exception:
                log.exception("the queue was not looked at")
                await asyncio.sleep(1)


def _schedule_cleanup(connection: Connection) -> None:
    """One clean-up a period, whoever asks: the period is its idempotency key."""
    period = int((connection.execute(select(now())).scalar() or 0) // CLEAN_EVERY_S)
    key = f"cleanup-{period}"
    rows.enqueue(connection, NewJob(new_id("job"), SYSTEM, "cleanup", json.dumps(None), CLEANUP, idempotency_key=key))
