"""The runner of a process's jobs: claims jobs, renews their leases, runs each to its end or hands it over.

The worker deployment claims jobs from the queue. The gateway adopts runs whose client stopped waiting.
"""

import asyncio
import contextlib
import functools
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from deployments.errors import MedleyError, Transient

from ..config.schema import DAY_S, JobsConfig
from ..errors import StorageUnavailable, UnknownName, foreseen, invalid_request, problem
from ..graph import Graph
from ..identity import Identity
from ..models.registry import Model, Models
from ..run import Executor, RunOptions
from ..steps import Step
from ..storage.artifacts import Artifact, Artifacts
from ..storage.database import Database
from . import estimates, lease, next_jobs
from .delivery_slots import DeliverySlots
from .estimates import Estimate
from .heartbeat import Heartbeat
from .job import GRAPH, Claimed, Held, Job, NewJob, Outcome
from .journal import Journal, until_storage_answers
from .serialization import Writer, load
from .step_cache import StepCache

log = logging.getLogger("ray.serve")
LONGEST_PAUSE_S = 300.0
LEARN_S = 2.0  # between two updates of a graph's usual durations

# The work of a system job: gets the job's input, returns the seconds until its next attempt, None when it is done.
Handler = Callable[[Any], Awaitable[float | None]]


@dataclass(eq=False)
class _Active:
    """A job that runs in this process, and the reason if it is being stopped."""

    held: Held
    task: "asyncio.Task[None] | None" = None
    stop: Literal["", "cancelled", "lost", "handed over"] = ""


class Runner:
    """The jobs that one process runs.

    Args:
        owner: name of this process, unique for all time.
        handlers: the work of each kind of system job.
        revision: gets a model's revision, for the step cache.
    """

    def __init__(
        self,
        database: Database,
        artifacts: Artifacts,
        graphs: Mapping[str, Graph[..., Any]],
        models: Models,
        config: JobsConfig,
        owner: str,
        handlers: Mapping[str, Handler] | None = None,
        revision: Callable[[Model], Awaitable[str]] | None = None,
    ) -> None:
        self.database = database
        self.artifacts = artifacts
        self.owner = owner
        self.terms = next_jobs.Terms(
            config.lease_s, config.per_user, max_attempts=config.workers_lost, keep_s=config.keep_s
        )
        self._graphs = graphs
        self.executor = Executor(models, config.prices, config.timeout_s)
        self.config = config
        self._handlers = handlers or {}
        self._active: dict[Held, _Active] = {}
        self._heartbeat = Heartbeat(database, config.lease_s, self._renewed)
        self._loop = asyncio.get_running_loop()
        self._slots: list[asyncio.Future[Claimed | None]] = []
        self._claiming: asyncio.Task[None] | None = None
        self._cache = StepCache(database, revision) if config.step_cache_mb and revision else None
        self._past: dict[str, estimates.Past] = {}
        self._learned: dict[str, float] = {}
        self._idle = {next_jobs.RUNS, next_jobs.DELIVERIES}  # lanes in which the last claim found nothing
        self._deliveries = DeliverySlots(
            lambda slots: self._claim_for(slots, next_jobs.DELIVERIES), lambda job: self._start(job, self._run_system)
        )
        self.stopped = False

    @property
    def caches_steps(self) -> bool:
        """Whether answers of steps are kept for other runs."""
        return self._cache is not None

    async def claim(self) -> Claimed | None:
        """Claim the next job; None if no job is ready or the database does not answer.

        Slots that call while a claim is under way are served together by the next claim. Deliveries that are due start
        beside it, in slots of their own.
        """
        if not self.stopped:
            self._deliveries.fill()
        slot: asyncio.Future[Claimed | None] = self._loop.create_future()
        self._slots.append(slot)
        if self._claiming is None:
            self._claiming = asyncio.create_task(self._claim())
        return await slot

    async def _claim(self) -> None:
        try:
            while self._slots:
                slots, self._slots = self._slots, []
                claimed = await self._claim_for(len(slots), next_jobs.RUNS)
                for slot in slots:
                    if not slot.done():  # a slot may have been cancelled meanwhile
                        slot.set_result(claimed.pop(0) if claimed else None)
                for job in claimed:
                    # If this fails, the lease runs out and another owner takes the job.
                    with contextlib.suppress(StorageUnavailable, lease.LeaseLost):
                        await self.database.write(lease.requeue, job.held, 0.0, uncounted=True)
        finally:
            self._claiming = None

    async def _claim_for(self, slots: int, lane: next_jobs.Lane) -> list[Claimed]:
        """Jobs of a lane, none if the database does not answer."""
        steal = self._heartbeat.may_steal
        try:
            # An idle process only reads: its polls must not take the write lock, nor hold it when it is stopped.
            if lane in self._idle and not await self.database.read(next_jobs.candidates, self.terms, 1, steal, lane):
                return []
            if self.stopped:
                return []
            claimed = await self.database.write_apart(lease.claim, self.owner, self.terms, slots, steal, lane)
        except StorageUnavailable as error:
            self._heartbeat.failed()
            log.warning("claiming jobs failed: %s", error)
            return []
        except Exception:
            log.exception("claiming jobs failed")
            return []
        (self._idle.discard if claimed else self._idle.add)(lane)
        return claimed

    async def run(self, claimed: Claimed) -> None:
        """Run a claimed job to its end. Cancelling the caller does not stop the job."""
        work = self._run_graph if claimed.job.kind == GRAPH else self._run_system
        await asyncio.shield(self._start(claimed, work))

    def journal(self, user: str, job_id: str, graph: str) -> Journal:
        """The journal of a run of a graph."""
        temporary = Writer(self.artifacts, user, job_id, "temp")
        return Journal(self.database, temporary, Estimate(self._past.get(graph, {})), self._cache)

    async def adopt(
        self,
        new: NewJob,
        artifacts: Sequence[Artifact],
        journal: Journal,
        answer: Callable[[], Awaitable[BaseModel]],
    ) -> tuple[Job, bool]:
        """Make a run that has begun here a job of this process; returns it and whether it is new: an earlier job may
        have the same key.

        Raises:
            StorageUnavailable: the database does not answer; the run is unchanged.
            InvalidRequest: the key was used with another request.
            InsufficientCredit: the user has less than the price.
        """
        claimed = await self.database.write(lease.adopt, self.owner, self.terms, new, artifacts)
        if isinstance(claimed, Job):
            return claimed, False

        async def work(active: _Active, claimed: Claimed) -> None:
            await journal.attach(claimed)
            await self._see_through(active, claimed.job, journal, answer())

        self._start(claimed, work)
        return claimed.job, True

    async def stop(self) -> None:
        """Hand every job over at once; the next owner continues after the last finished step."""
        self.stopped = True
        await self._deliveries.stop()
        tasks = [active.task for active in self._active.values() if active.task]
        for active in list(self._active.values()):
            self._end(active, "handed over")
        if tasks:
            await asyncio.wait(tasks, timeout=self.config.lease_s)
        self._heartbeat.stop()

    def _start(self, claimed: Claimed, work: "Callable[[_Active, Claimed], Awaitable[None]]") -> "asyncio.Task[None]":
        active = _Active(claimed.held)
        self._active[claimed.held] = active
        self._heartbeat.hold(claimed.held)

        async def whole() -> None:
            try:
                await work(active, claimed)
            except lease.LeaseLost:
                log.warning("job %s: lease lost to another owner", claimed.job.id)
            except asyncio.CancelledError:
                pass
            except Exception:  # a defect of Medley: the lease runs out, and another owner retries
                log.exception("job %s: running it failed, its lease will run out", claimed.job.id)
            finally:
                self._heartbeat.release(claimed.held)
                self._active.pop(claimed.held, None)

        active.task = asyncio.create_task(whole())
        return active.task

    def _renewed(self, renewed: lease.Renewed) -> None:
        """Stop the jobs that were lost or cancelled. Called in the heartbeat's thread."""
        for held in renewed.lost:
            self._loop.call_soon_threadsafe(self._end_held, held, "lost")
        for held in renewed.cancelled:
            self._loop.call_soon_threadsafe(self._end_held, held, "cancelled")

    def _end_held(self, held: Held, why: Any) -> None:
        if held in self._active:
            self._end(self._active[held], why)

    def _end(self, active: _Active, why: Any) -> None:
        if not active.stop and active.task:
            active.stop = why
            active.task.cancel()

    async def _run_graph(self, active: _Active, claimed: Claimed) -> None:
        job = claimed.job
        if job.graph not in self._past:
            self._past[job.graph] = await self._usual(job.graph)
        journal = self.journal(job.user_id, job.id, job.graph)
        await journal.attach(claimed)
        if claimed.steps:
            journal.note(f"continuing after step {claimed.steps[-1].name}")

        async def answer() -> BaseModel:
            graph = self._graphs.get(job.graph)
            if graph is None:
                raise UnknownName("graph", job.graph, self._graphs)
            call, identity = await self._call(graph, job), Identity(job.user_id, job.project)
            options = RunOptions(timeout_s=max(0.0, claimed.seconds_left))
            run = self.executor.execute(graph, call, identity, options, journal=journal, streams=True)
            return await run.result()

        await self._see_through(active, job, journal, answer())

    async def _call(self, graph: Graph[..., Any], job: Job) -> BaseModel:
        try:
            return await load(graph.call, job.input, self.artifacts, job.user_id)
        except ValidationError as error:
            raise invalid_request(error, graph.fields) from None

    async def _see_through(self, active: _Active, job: Job, journal: Journal, answer: Awaitable[BaseModel]) -> None:
        """Await the answer and commit the job's outcome."""
        keep_s = self.terms.keep_s
        try:
            try:
                result = await answer
                outputs = Writer(self.artifacts, job.user_id, job.id, "outputs")
                output, artifacts = await journal.keep(outputs, result, "")
                charged = price_of(job.price, journal.steps, self.config.cached_price)
                await journal.finish("succeeded", output, charged, artifacts, keep_s)
            except lease.LeaseLost:
                raise
            except asyncio.CancelledError:
                if active.stop == "cancelled":
                    await journal.finish("cancelled", None, 0, (), keep_s)
                elif active.stop == "handed over":
                    await journal.requeue(0.0, "handed over to another worker", uncounted=True)
                raise
            except Exception as error:
                await self._failed(job, journal, foreseen(error, job.id), keep_s)
            else:
                await self._learn(job.graph, journal.steps)
        finally:
            journal.lost.set()  # stops a flush that is under way

    async def _failed(self, job: Job, journal: Journal, error: MedleyError, keep_s: float) -> None:
        if isinstance(error, Transient) and job.attempts < self.config.tries:
            pause = min(LONGEST_PAUSE_S, max(float(error.retry_after), 2.0**job.attempts)) * random.uniform(0.75, 1.25)
            await journal.requeue(pause, f"retrying in {pause:.1f} s: {error}")
            return
        await journal.finish("failed", problem(error, f"/api/v1/jobs/{job.id}", job.id), 0, (), keep_s)

    async def _run_system(self, active: _Active, claimed: Claimed) -> None:
        job, held = claimed.job, claimed.held
        try:
            next_in_s = await self._handlers[job.kind](json.loads(job.input))
        except StorageUnavailable:
            next_in_s = 30.0
        if next_in_s is None:
            commit = functools.partial(lease.finish, held=held, outcome=Outcome("succeeded"), seq=0, keep_s=DAY_S)
        else:
            commit = functools.partial(lease.requeue, held=held, delay_s=next_in_s, uncounted=True)
        await until_storage_answers(lambda: self.database.write(commit), asyncio.Event())

    async def _usual(self, graph: str) -> estimates.Past:
        try:
            return await self.database.read(estimates.load, graph)
        except StorageUnavailable:
            return {}

    async def _learn(self, graph: str, steps: list[Step]) -> None:
        """Update the graph's usual durations. They only feed progress bars: not worth a write after every run."""
        if not steps or time.monotonic() - self._learned.get(graph, 0.0) < LEARN_S:
            return
        self._learned[graph] = time.monotonic()
        try:
            await self.database.write(estimates.learn, graph, steps)
            self._past[graph] = await self.database.read(estimates.load, graph)
        except StorageUnavailable:
            pass


def price_of(price: int, steps: Sequence[Step], cached_price: float) -> int:
    """The credits that a run costs: its price, reduced for steps answered from the cache."""
    if not price or not steps:
        return price
    shares = [cached_price if step.cached else 1.0 for step in steps]
    return round(price * sum(shares) / len(shares))
