"""A run somebody waits for. It begins here at once; when they stop waiting it goes on as the job it becomes."""

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from ..errors import StorageUnavailable
from ..graph import Graph
from ..models.registry import Models
from ..run import Run, Step
from ..storage.tables import new_id
from .dispatch import Dispatch
from .job import Asked, Job
from .results import wait_for
from .submission import new_job

TRY_AGAIN_S = 1.0


class Attended:
    """One request for a run of a graph, in the process that received it."""

    def __init__(
        self,
        jobs: Dispatch,
        models: Models,
        graph: Graph[..., Any],
        user: str,
        call: BaseModel,
        chosen: dict[str, str],
        asked: Asked,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        self._jobs = jobs
        self._graph = graph
        self._user = user
        self._call = call
        self._asked = asked
        self._id = new_id("job")
        self._journal = jobs.runner.journal(user, self._id, graph.name)
        self._adoption: asyncio.Task[Job] | None = None
        longest = min(asked.timeout_s or jobs.config.timeout_s, jobs.config.timeout_s)
        self.run = Run(models, chosen, on_step, longest, self._journal)

    async def answer(self, wait_s: float) -> BaseModel | Job:
        """The result, or the job that goes on when the wait is over.

        Raises:
            MedleyError: the run failed; JobFailed if it did as a job.
        """
        priced = bool(self._jobs.config.prices.get(self._graph.name))
        if self._asked.key is not None or priced or self._asked.webhook is not None:
            job = await self._become_job(lambda: self.run.execute(self._graph, self._call))
            return await wait_for(self._jobs, self._graph, job, wait_s)
        work = asyncio.create_task(self.run.execute(self._graph, self._call))
        try:
            done, _ = await asyncio.wait((work,), timeout=wait_s)
            while not done:
                try:
                    return await self._become_job(lambda: work)
                except StorageUnavailable:
                    done, _ = await asyncio.wait((work,), timeout=TRY_AGAIN_S)
        except asyncio.CancelledError:  # nobody waits any more
            self._end_unless_job(work)
            raise
        return work.result()

    def _end_unless_job(self, work: "asyncio.Task[Any]") -> None:
        """End the work at once, or, if it is just becoming a job, when that fails."""
        if self._adoption is None:
            work.cancel()
        else:
            self._adoption.add_done_callback(lambda done: work.cancel() if done.exception() else None)

    async def _become_job(self, answer: Callable[[], Any]) -> Job:
        jobs = self._jobs
        new, inputs = await new_job(
            self._graph, self._call, self._user, self._asked, jobs.config, jobs.artifacts, self._id
        )
        # Shielded: if the client goes away just now, the job is whole or was never there.
        self._adoption = asyncio.create_task(jobs.runner.adopt(new, inputs, self._journal, self.run, answer))
        try:
            return await asyncio.shield(self._adoption)
        except StorageUnavailable:
            self._adoption = None
            raise
