"""The gateway's side of jobs: create jobs, wake the workers, wait for jobs to end, and sweep the queue.

Workers are woken by a call that the gateway does not wait for. The call is a hint and the table is the truth: a sweep
calls again for every job that is ready and has no owner. Each running job is one such call, so Serve's autoscaling
follows the backlog by itself.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection, select

from deployments.errors import CallerError

from ..accounts.usage import Usage
from ..config.schema import DAY_S
from ..errors import StorageUnavailable
from ..storage.artifacts import Artifact
from ..storage.tables import new_id, now
from . import next_jobs, queue, rows
from .cleanup import EXPIRED, ORPHANS
from .events import Tail
from .job import CLEANUP, SYSTEM, Job, NewJob
from .journal import Journal
from .runner import Runner

log = logging.getLogger("ray.serve")
SWEEP_S = 0.2
MOST_CALLS = 64  # to workers at once, from one gateway: each runs jobs until none is left
CLEAN_EVERY_S = 300


class Dispatch:
    """The gateway's access to the queue and its workers.

    Args:
        runner: for the runs that begin in this process, over the same database as the workers.
        call_worker: calls a worker, which runs jobs until none is left; the awaited call returns then.
    """

    def __init__(self, runner: Runner, call_worker: Callable[[], Any]) -> None:
        self.runner = runner
        self.database = runner.database
        self.artifacts = runner.artifacts
        self.config = runner.config
        self.tail = Tail(self.database)
        self.usage = Usage(self.database, self.config)
        self._call_worker = call_worker
        self._calls: set[asyncio.Task[None]] = set()
        self._sweeping = asyncio.create_task(self._sweep())

    async def create(self, new: NewJob, artifacts: Sequence[Artifact] = ()) -> tuple[Job, bool]:
        """Queue a job; returns it and whether it is new, see `queue.create`. The artifacts of a job that is not are
        deleted again."""
        job, made = await self._kept(new, artifacts, self.database.write(queue.create, new, artifacts))
        if made:
            self.tell_workers()
        return job, made

    async def adopt(
        self,
        new: NewJob,
        artifacts: Sequence[Artifact],
        journal: Journal,
        answer: Callable[[], Awaitable[BaseModel]],
    ) -> Job:
        """Make a run that has begun here a job of this process, see `Runner.adopt`. The artifacts of a job that is not
        made are deleted again."""
        job, _ = await self._kept(new, artifacts, self.runner.adopt(new, artifacts, journal, answer))
        return job

    async def _kept(
        self, new: NewJob, artifacts: Sequence[Artifact], making: Awaitable[tuple[Job, bool]]
    ) -> tuple[Job, bool]:
        """The job that is made, or the earlier one with its idempotency key; then, and where the job is refused, nobody
        owns these artifacts."""
        try:
            job, made = await making
        except CallerError:
            await self.artifacts.discard(artifacts)
            raise
        if job.id != new.id:
            await self.artifacts.discard(artifacts)
        return job, made

    async def retry(self, user: str, job_id: str) -> Job:
        """Queue a failed or cancelled job again, see `queue.retry`."""
        job = await self.database.write(queue.retry, user, job_id)
        self.tell_workers()
        return job

    def tell_workers(self) -> None:
        """Call one more worker, unless `MOST_CALLS` calls are under way."""
        if len(self._calls) < MOST_CALLS:
            task = asyncio.create_task(self._call())
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def stop(self) -> None:
        """Hand over the jobs that run here."""
        self._sweeping.cancel()
        self.tail.stop()
        await self.runner.stop()

    async def _call(self) -> None:
        with contextlib.suppress(Exception):  # the worker was lost with the call: the sweep finds its jobs
            await self._call_worker()

    async def _sweep(self) -> None:
        cleaned = 0.0
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                for _ in range(await self.database.read(next_jobs.ready, self.runner.terms, MOST_CALLS)):
                    self.tell_workers()
                if time.monotonic() - cleaned > CLEAN_EVERY_S / 2:
                    await self.database.write(_schedule_cleanup)
                    cleaned = time.monotonic()
            except StorageUnavailable as error:
                log.warning("queue sweep failed: %s", error)
                await asyncio.sleep(1)
            except Exception:
                log.exception("queue sweep failed")
                await asyncio.sleep(1)


def _schedule_cleanup(connection: Connection) -> None:
    """Queue one clean-up per period, and one sweep of the store per day, however many gateways try: the period is the
    idempotency key."""
    at = connection.execute(select(now())).scalar() or 0
    for task, every_s in ((EXPIRED, CLEAN_EVERY_S), (ORPHANS, DAY_S)):
        key = f"{task}-{int(at // every_s)}"
        new = NewJob(new_id("job"), SYSTEM, "cleanup", json.dumps(task), CLEANUP, idempotency_key=key)
        rows.enqueue(connection, new)
