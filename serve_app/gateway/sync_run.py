"""A run that a caller waits for. It begins in this process at once and, when the wait is over, continues as a job."""

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Literal

from pydantic import BaseModel

from ..errors import RunTimedOut, StorageUnavailable
from ..graph import Graph
from ..identity import Identity
from ..jobs.dispatch import Dispatch
from ..jobs.job import Job
from ..jobs.results import wait_for
from ..jobs.submission import new_job
from ..run import DEFAULT_OPTIONS, RunOptions
from ..steps import Step
from ..storage.tables import new_id

RETRY_S = 1.0  # between tries to become a job while the database does not answer

EventName = Literal["step", "piece", "result", "job"]


class SyncRun:
    """One request for a run of a graph, in the process that received it. Use one of its three methods, once.

    Args:
        streams: whether the caller follows the pieces of a graph that streams.
    """

    def __init__(
        self,
        jobs: Dispatch,
        graph: Graph[..., Any],
        call: BaseModel,
        identity: Identity,
        options: RunOptions = DEFAULT_OPTIONS,
        streams: bool = False,
    ) -> None:
        self._jobs, self._graph, self._call, self._identity, self._options = jobs, graph, call, identity, options
        self._id = new_id("job")
        self._adoption: asyncio.Task[Job] | None = None
        executor = jobs.runner.executor
        self.durable = options.durable or executor.price(graph) > 0
        # A run that never becomes a job, and has no step cache, needs no journal.
        needs_journal = self.durable or options.wait_s is not None or jobs.runner.caches_steps
        self._journal = jobs.runner.journal(identity.user, self._id, graph.name) if needs_journal else None
        self.run = executor.execute(graph, call, identity, options, journal=self._journal, streams=streams)

    async def answer(self) -> Any:
        """The result; or the Job, at once if the options say so, else if the run continues after the wait.

        Raises:
            MedleyError: the run failed; JobFailed if it failed as a job.
        """
        if self.durable:
            await self._jobs.usage.admit_job(self._identity.user, self._options.webhook is not None)
        if self._options.respond_async:
            new, inputs = await self._new_job()
            return (await self._jobs.create(new, inputs))[0]
        wait_s = self._options.wait_s
        if self.durable:
            job = await self._become_job(self.run.result)
            return await wait_for(self._jobs, self._graph, job, self._longest_s if wait_s is None else wait_s)
        if wait_s is None:
            return await self.run.result()
        work = asyncio.create_task(self.run.result())
        try:
            done, _ = await asyncio.wait((work,), timeout=wait_s)
            while not done:
                try:
                    return await self._become_job(lambda: work)
                except StorageUnavailable:
                    done, _ = await asyncio.wait((work,), timeout=RETRY_S)
        except asyncio.CancelledError:  # the caller has gone
            self._end_unless_job(work)
            raise
        return work.result()

    async def events(self) -> AsyncGenerator[tuple[EventName, Any]]:
        """The events of the run: each `step` when it starts, advances or ends, each `piece`, then the `result`, or the
        `job` if the run continues.

        Raises:
            MedleyError: as `answer`.
        """
        queue: asyncio.Queue[tuple[EventName, Any] | None] = asyncio.Queue()
        self.run.observe(_Queued(queue))
        task = asyncio.create_task(self.answer())
        task.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            answer = task.result()
            yield ("job" if isinstance(answer, Job) else "result"), answer
        finally:
            task.cancel()  # the caller has gone, or there is nothing left to cancel

    async def pieces(self) -> AsyncGenerator[Any]:
        """The pieces of a graph that streams, as they come.

        Raises:
            MedleyError: as `answer`.
        """
        if not self.durable:  # straight from the graph's function: no task, no queue
            async with aclosing(self.run.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
            return
        async with aclosing(self.events()) as events:
            async for name, value in events:
                if name == "piece":
                    yield value
                elif name == "job":
                    raise RunTimedOut(f"The run took longer than {self._longest_s:g} s; it goes on as job {value.id}.")

    @property
    def _longest_s(self) -> float:
        return self._options.limited_s(self._jobs.config.timeout_s)

    def _end_unless_job(self, work: "asyncio.Task[Any]") -> None:
        """Cancel the work at once, or, if it is becoming a job, only if that fails."""
        if self._adoption is None:
            work.cancel()
        else:
            self._adoption.add_done_callback(lambda done: work.cancel() if done.exception() else None)

    async def _new_job(self) -> Any:
        jobs = self._jobs
        return await new_job(
            self._id, self._graph, self._call, self._identity, self._options, jobs.config, jobs.artifacts
        )

    async def _become_job(self, answer: Callable[[], Any]) -> Job:
        assert self._journal is not None, "a run that may become a job has a journal"
        new, inputs = await self._new_job()
        # Shielded: if the client leaves now, the job is created completely or not at all.
        self._adoption = asyncio.create_task(self._jobs.adopt(new, inputs, self._journal, answer))
        try:
            return await asyncio.shield(self._adoption)
        except StorageUnavailable:
            self._adoption = None
            raise


class _Queued:
    """An observer that puts steps and pieces on a queue."""

    def __init__(self, queue: "asyncio.Queue[tuple[EventName, Any] | None]") -> None:
        self._queue = queue

    def step(self, step: Step) -> None:
        self._queue.put_nowait(("step", copy.copy(step)))  # a copy: the run keeps changing the step

    def piece(self, piece: BaseModel) -> None:
        self._queue.put_nowait(("piece", piece))
