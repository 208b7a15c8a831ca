"""The journal of a durable run: its steps' answers and its events, committed under the owner's fence.

A run that a client waits for begins without a job; until then the journal keeps its steps in memory. `attach` gives it
a job: the steps in memory are committed first, and every later step when it is done.
"""

import asyncio
import itertools
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection

from ..errors import StorageUnavailable
from ..steps import ProviderTasks, Recorded, Step, StepCall
from ..storage.artifacts import Artifact
from ..storage.database import Database
from . import lease
from .estimates import Estimate
from .job import Claimed, Event, EventKind, Held, Outcome, StepRecord, TaskRecord
from .serialization import Writer, digest, holds_media, load
from .step_cache import StepCache
from .view import step_view

T = TypeVar("T")
log = logging.getLogger("ray.serve")
FLUSH_S = 0.05  # how long an event waits to be committed together with a step
PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # between tries while the database or the store does not answer


class Journal:
    """The journal of one run.

    Args:
        temporary: stores the media that pass between steps.
        estimate: the estimate of the time left.
        cache: the step cache, if the profile has one.
    """

    def __init__(
        self, database: Database, temporary: Writer, estimate: Estimate, cache: StepCache | None = None
    ) -> None:
        self.lost = asyncio.Event()
        self._database = database
        self._temporary = temporary
        self._estimate = estimate
        self._cache = cache
        self._held: Held | None = None
        self._seq = 1
        self._uncommitted: list[tuple[EventKind, str]] = []
        self._steps_in_memory: list[tuple[Step, StepCall, Any]] = []
        self._pieces: list[Any] = []  # JSON values, not yet among the events
        self._done: dict[tuple[str, str], list[StepRecord]] = defaultdict(list)
        self._digests: dict[str, str] = {}
        self._tasks: dict[tuple[str, str], list[ProviderTasks]] = defaultdict(list)  # of unfinished earlier steps
        self._tasks_in_memory: list[tuple[Step, StepCall, str]] = []
        self._order = asyncio.Lock()  # commits of a job are one after the other, in the order of their events
        self._flushing: asyncio.Task[None] | None = None

    @property
    def held(self) -> Held | None:
        """The job and its fence; None while the run is not a job."""
        return self._held

    @property
    def paid(self) -> bool:
        """Whether the run is a job: its price was reserved in the transaction that made the job."""
        return self._held is not None

    @property
    def steps(self) -> list[Step]:
        """The steps of this attempt so far, in the order they began."""
        return self._estimate.steps

    async def attach(self, claimed: Claimed) -> None:
        """Make this the journal of a job that was just claimed, or just made from this run."""
        async with self._order:
            self._seq = claimed.next_seq
            for record in claimed.steps:
                self._done[record.call, record.digest].append(record)
            for records in claimed.tasks:
                by_model = ProviderTasks()
                for record in records:
                    by_model.setdefault(record.model, []).append(record.task)
                self._tasks[records[0].call, records[0].digest].append(by_model)
            self._held = claimed.held
            for step in self.steps:  # begun before the run was a job
                self._add_event("step", step_view(step))
            for step, call, value in self._steps_in_memory:
                await self._commit_step(step, call, value)
            self._steps_in_memory.clear()
            for step, call, task in self._tasks_in_memory:
                await self._commit_task(step, call, task)
            self._tasks_in_memory.clear()
        self._flush_soon()

    def step(self, step: Step) -> None:
        """Add an event for a step's start or end, and one for the progress of the run."""
        self._estimate.follow(step)
        if self._held is not None:
            self._add_event("step", step_view(step))
            self._add_event("progress", self._estimate.progress())
            self._flush_soon()

    def piece(self, piece: BaseModel) -> None:
        """Add a piece of the result, which goes into the next event of pieces."""
        self._pieces.append(piece.model_dump(mode="json"))
        self._flush_soon()

    def note(self, message: str, level: str = "info") -> None:
        """Add a log line to the events."""
        self._add_event("log", {"level": level, "message": message})
        self._flush_soon()

    async def recall(self, step: Step, call: StepCall) -> Recorded | None:
        if not self._done and self._cache is None:
            return None
        key = await self._digest(step, call)
        waiting = self._done.get((call.name, key))
        if waiting:
            record = waiting.pop(0)
            step.attempts, step.started, step.seconds = record.attempts, record.started_at, record.seconds
            return Recorded(await self._read(call, record.output), record.model)
        if self._cache is not None:
            cached = await self._cache.lookup(self._temporary.user, call, key)
            if cached is not None:
                try:
                    recorded = Recorded(await self._read(call, cached.output), cached.model)
                except ValueError:  # one of its artifacts has been deleted
                    return None
                step.cached = True
                return recorded
        return None

    async def record(self, step: Step, call: StepCall, value: Any) -> None:
        async with self._order:
            if self._held is None:
                self._steps_in_memory.append((step, call, value))
                return
            await self._commit_step(step, call, value)

    async def tasks(self, step: Step, call: StepCall) -> ProviderTasks:
        waiting = self._tasks.get((call.name, await self._digest(step, call))) if self._tasks else None
        return waiting.pop(0) if waiting else ProviderTasks()

    async def keep_task(self, step: Step, call: StepCall, task: str) -> None:
        async with self._order:
            if self._held is None:
                self._tasks_in_memory.append((step, call, task))
                return
            await self._commit_task(step, call, task)

    async def finish(self, status: Any, data: Any, charged: int, artifacts: Sequence[Artifact], keep_s: float) -> None:
        """End the job.

        Raises:
            LeaseLost: another owner has the job.
        """
        async with self._order:
            held, events = self._owned(), self._take_events()
            outcome, seq = Outcome(status, data, charged), self._seq
            self._seq += 1

            def work(connection: Connection) -> None:
                lease.finish(connection, held, outcome, seq, artifacts, events, keep_s)

            await self._commit(work)

    async def requeue(self, delay_s: float, reason: str, uncounted: bool = False) -> None:
        """Put the job back in the queue.

        Raises:
            LeaseLost: another owner has the job.
        """
        async with self._order:
            self._add_event("log", {"level": "warning", "message": reason})
            self._add_event("state", {"status": "queued"})
            held, events = self._owned(), self._take_events()
            await self._commit(lambda connection: lease.requeue(connection, held, delay_s, events, uncounted=uncounted))

    async def keep(self, writer: Writer, value: Any, name: str) -> tuple[Any, list[Artifact]]:
        """A value as a document with its media stored, retried for as long as the store does not answer."""
        if not holds_media(value):
            return writer.write(value, name)
        return await until_storage_answers(lambda: asyncio.to_thread(writer.write, value, name), self.lost)

    async def _commit(self, work: Callable[[Connection], T]) -> T:
        try:
            return await until_storage_answers(lambda: self._database.write(work), self.lost)
        except lease.LeaseLost:
            self.lost.set()
            raise

    async def _commit_step(self, step: Step, call: StepCall, value: Any) -> None:
        held = self._owned()
        key = await self._digest(step, call)
        output, artifacts = await self.keep(self._temporary, value, step.name)
        record = StepRecord(
            name=step.name,
            call=call.name,
            digest=key,
            model=step.model,
            attempts=step.attempts,
            started_at=step.started,
            seconds=step.seconds,
            output=json.dumps(output),
            cached=step.cached,
        )
        events = self._take_events()
        progress = json.dumps(self._estimate.progress())
        size = len(record.output) + sum(artifact.size for artifact in artifacts)

        def work(connection: Connection) -> None:
            lease.commit_step(connection, held, record, artifacts, events, progress)

        await self._commit(work)
        if self._cache is not None and not step.cached:
            await self._cache.keep(self._temporary.user, call, key, record, size)

    async def _commit_task(self, step: Step, call: StepCall, task: str) -> None:
        held = self._owned()
        record = TaskRecord(step.name, call.name, await self._digest(step, call), step.model, task)
        await self._commit(lambda connection: lease.keep_task(connection, held, record))

    async def _digest(self, step: Step, call: StepCall) -> str:
        if step.name not in self._digests:
            parts = (call.name, list(call.args), dict(call.kwargs))
            heavy = holds_media(parts)
            self._digests[step.name] = await asyncio.to_thread(digest, parts) if heavy else digest(parts)
        return self._digests[step.name]

    async def _read(self, call: StepCall, output: str) -> Any:
        kind = list[call.signature.returns] if call.signature.streams else call.signature.returns
        artifacts, user = self._temporary.artifacts, self._temporary.user
        return await until_storage_answers(lambda: load(kind, output, artifacts, user), self.lost)

    def _owned(self) -> Held:
        if self._held is None or self.lost.is_set():
            raise lease.LeaseLost
        return self._held

    def _add_event(self, kind: EventKind, data: Any) -> None:
        if kind == "progress" and self._uncommitted and self._uncommitted[-1][0] == "progress":
            self._uncommitted.pop()
        self._uncommitted.append((kind, json.dumps(data)))

    def _take_events(self) -> list[Event]:
        """Take the uncommitted events, with their numbers; the caller commits them."""
        job_id = self._owned().job_id
        if self._pieces:
            self._add_event("pieces", self._pieces)
            self._pieces = []
        events = [Event(job_id, seq, kind, data) for seq, (kind, data) in enumerate(self._uncommitted, self._seq)]
        self._seq += len(events)
        self._uncommitted.clear()
        return events

    def _flush_soon(self) -> None:
        waiting = self._uncommitted or self._pieces
        if self._held is not None and waiting and (self._flushing is None or self._flushing.done()):
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        await asyncio.sleep(FLUSH_S)
        async with self._order:
            if not (self._uncommitted or self._pieces) or self.lost.is_set() or self._held is None:
                return
            held, events = self._held, self._take_events()
            progress = json.dumps(self._estimate.progress())
            try:
                await self._commit(lambda connection: lease.note(connection, held, events, progress))
            except lease.LeaseLost:
                return


async def until_storage_answers(work: Callable[[], Awaitable[T]], lost: asyncio.Event) -> T:
    """The result of `work`, retried for as long as the database or the store does not answer: no result is lost.

    Raises:
        LeaseLost: `lost` was set meanwhile.
    """
    for attempt in itertools.count():
        try:
            return await work()
        except StorageUnavailable as error:
            if lost.is_set():
                raise lease.LeaseLost from error
            if attempt in (0, 10, 100):
                log.warning("storage does not answer, a job waits: %s", error)
            await asyncio.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])
    raise AssertionError
