"""What a request says about how it shall be run, and the job made of it."""

import asyncio
import json
from typing import Any

from pydantic import BaseModel

from ..config.schema import JobsConfig
from ..graph import Graph
from ..storage.artifacts import Artifact, Artifacts
from ..storage.tables import new_id
from .job import Asked, NewJob
from .serialization import Writer, digest, holds_media


async def new_job(
    graph: Graph[..., Any],
    call: BaseModel,
    user: str,
    asked: Asked,
    config: JobsConfig,
    artifacts: Artifacts,
    job_id: str | None = None,
) -> tuple[NewJob, list[Artifact]]:
    """The job of a request, its media stored; the artifacts' rows belong into the transaction that creates it.

    Raises:
        StorageUnavailable: the store does not answer.
    """
    job_id = job_id or new_id("job")
    writer = Writer(artifacts, user, job_id, "inputs")
    heavy = holds_media(call)
    said, inputs = await asyncio.to_thread(writer.write, call, "") if heavy else writer.write(call, "")
    mark = None
    if asked.key is not None:
        mark = await asyncio.to_thread(digest, graph.name, call, asked.priority, asked.timeout_s, asked.webhook)
    new = NewJob(
        id=job_id,
        user_id=user,
        graph=graph.name,
        input=json.dumps(said),
        priority=asked.priority,
        timeout_s=min(asked.timeout_s or config.timeout_s, config.timeout_s),
        price=config.prices.get(graph.name, 0),
        idempotency_key=asked.key,
        request_digest=mark,
        webhook_url=asked.webhook,
    )
    return new, inputs
