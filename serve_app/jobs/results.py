"""Waiting for the result of a job, and reading it."""

import json
from typing import Any

from pydantic import BaseModel

from ..errors import Conflict, JobFailed
from ..graph import Graph
from . import queue
from .dispatch import Dispatch
from .job import Job
from .serialization import load


async def wait_for(jobs: Dispatch, graph: Graph[..., Any], job: Job, wait_s: float) -> BaseModel | Job:
    """The result of a job if it ends within `wait_s` seconds, else the job.

    Raises:
        JobFailed: the job failed.
        Conflict: the job was cancelled.
    """
    if not job.ended:
        await jobs.tail.ended(job.id, wait_s)
        job = await jobs.database.read(queue.find, job.user_id, job.id)
    return await result_of(jobs, graph, job) if job.ended else job


async def result_of(jobs: Dispatch, graph: Graph[..., Any], job: Job) -> BaseModel:
    """The result of an ended job, as the graph returned it.

    Raises:
        JobFailed: the job failed.
        Conflict: the job was cancelled, has not ended, or its media have expired.
    """
    if job.status == "failed":
        raise JobFailed(json.loads(job.error or "{}"))
    if job.status != "succeeded":
        raise Conflict("The job was cancelled." if job.ended else "The job has not ended yet.")
    try:
        return await load(graph.result, job.output or "{}", jobs.artifacts, job.user_id)
    except ValueError:
        raise Conflict("The job's media have expired and were deleted.") from None
