"""A request for a run, turned into a job that can be queued."""

import asyncio
from typing import Any

from pydantic import BaseModel

from ..config.schema import JobsConfig
from ..graph import Graph
from ..identity import Identity
from ..run import RunOptions
from ..storage.artifacts import Artifact, Artifacts
from .job import NewJob
from .serialization import Writer, digest, holds_media, stored


async def new_job(
    job_id: str,
    graph: Graph[..., Any],
    call: BaseModel,
    identity: Identity,
    options: RunOptions,
    config: JobsConfig,
    artifacts: Artifacts,
) -> tuple[NewJob, list[Artifact]]:
    """The job of a request, its media stored; the artifacts' rows belong into the transaction that creates it.

    Raises:
        StorageUnavailable: the store does not answer.
    """
    writer = Writer(artifacts, identity.user, job_id, "inputs")
    heavy = holds_media(call)
    document, inputs = await asyncio.to_thread(writer.write, call, "") if heavy else writer.write(call, "")
    request_digest = None
    if options.idempotency_key is not None:
        parts = (graph.name, call, options.priority, options.timeout_s, options.webhook)
        request_digest = await asyncio.to_thread(digest, *parts)
    new = NewJob(
        id=job_id,
        user_id=identity.user,
        graph=graph.name,
        input=stored(document),
        priority=options.priority,
        timeout_s=options.limited_s(config.timeout_s),
        price=config.prices.get(graph.name, 0),
        idempotency_key=options.idempotency_key,
        request_digest=request_digest,
        webhook_url=options.webhook,
        project=identity.project,
    )
    return new, inputs
