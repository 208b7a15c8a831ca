"""What a request says about how it shall be run, and the job made of it."""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from deployments.errors import InvalidInput

from ..config import JobsConfig
from ..graph import Graph
from ..storage.artifacts import Artifact, Artifacts
from ..storage.tables import new_id
from .documents import Writer, digest, holds_media
from .job import NewJob

PREFER_WAIT = re.compile(r"\bwait=(\d+(?:\.\d+)?)")
PREFER_ASYNC = re.compile(r"\brespond-async\b")
KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


@dataclass(frozen=True)
class Asked:
    """How a run shall be run.

    Args:
        at_once: answer with the job and do not wait.
        wait_s: how long to wait for the result; None: as long as the service does.
        key: of this request; the same one again gets the same job.
    """

    at_once: bool = False
    wait_s: float | None = None
    key: str | None = None
    priority: int = 0
    timeout_s: float | None = None
    webhook: str | None = None


PLAIN = Asked()
PARAMETERS = ("wait", "priority", "timeout_s", "webhook")


def read_asked(request: Request) -> Asked:
    """From the headers `Prefer` and `Idempotency-Key`, and the query's `wait`, `priority`, `timeout_s`, `webhook`.

    Raises:
        InvalidInput: one of them cannot be used.
    """
    prefer = request.headers.get("prefer")
    key = request.headers.get("idempotency-key")
    if prefer is None and key is None and not request.scope["query_string"]:
        return PLAIN
    query = request.query_params
    prefer = prefer or ""
    waits = PREFER_WAIT.search(prefer)
    if key is not None and not KEY.fullmatch(key):
        raise InvalidInput("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return Asked(
        at_once=bool(PREFER_ASYNC.search(prefer)),
        wait_s=float(waits[1]) if waits else number(query.get("wait"), "wait", 0, 3600),
        key=key,
        priority=int(number(query.get("priority"), "priority", -10, 10) or 0),
        timeout_s=number(query.get("timeout_s"), "timeout_s", 0.1, 7 * 86400),
        webhook=query.get("webhook"),
    )


def number(text: str | None, name: str, least: float, most: float) -> float | None:
    """A query parameter as a number.

    Raises:
        InvalidInput: it is none, or out of bounds.
    """
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise InvalidInput(name, f"must be a number from {least:g} to {most:g}")
    return value


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
