"""Deletion of expired data: ended jobs with artifacts and events, old idempotency keys, unused cache entries."""

import json

from sqlalchemy import Connection, delete, select, update

from ..config.schema import DAY_S, JobsConfig
from ..storage.artifacts import Artifacts
from ..storage.database import Database
from ..storage.tables import deliveries, events, jobs, messages, now, webhooks
from ..webhooks.endpoints import OWN
from .step_cache import trim

BATCH_SIZE = 200
EXPIRED, ORPHANS = "expired", "orphans"  # what a clean-up deletes


def clean(database: Database, artifacts: Artifacts, config: JobsConfig) -> int:
    """Delete expired data; returns how many jobs and artifacts were deleted. Blocks.

    Raises:
        StorageUnavailable: a store does not answer; the next clean-up deletes the rest.
    """
    deleted = 0
    while expired := database.read_here(_expired):
        for job_id, user in expired:
            artifacts.delete_job_here(user, job_id)  # the bytes first: without the row they could not be found again
            database.write_here(_delete, job_id)
        deleted += len(expired)
    while count := artifacts.expire_here(BATCH_SIZE):
        deleted += count
    database.write_here(_forget, config.keep_s)
    if config.step_cache_mb:
        database.write_here(trim, int(config.step_cache_mb * 1_000_000))
    return deleted


def _expired(connection: Connection) -> list[tuple[str, str]]:
    query = select(jobs.c.id, jobs.c.user_id).where(jobs.c.expires_at < now()).limit(BATCH_SIZE)
    return [(row.id, row.user_id) for row in connection.execute(query)]


def _delete(connection: Connection, job_id: str) -> None:
    connection.execute(delete(jobs).where(jobs.c.id == job_id))


def _forget(connection: Connection, keep_s: float) -> None:
    old = jobs.c.created_at < now() - DAY_S
    connection.execute(update(jobs).where(jobs.c.idempotency_key.is_not(None), old).values(idempotency_key=None))
    over = deliveries.c.status != "pending"
    connection.execute(delete(deliveries).where(over, deliveries.c.created_at < now() - keep_s))
    unsent = messages.c.id.not_in(select(deliveries.c.message_id)) & (messages.c.created_at < now() - DAY_S)
    connection.execute(delete(messages).where(unsent))
    # The endpoints of jobs' own URLs, once their deliveries are deleted.
    unused = webhooks.c.id.not_in(select(deliveries.c.webhook_id)) & (webhooks.c.created_at < now() - keep_s)
    connection.execute(delete(webhooks).where(webhooks.c.events == json.dumps(list(OWN)), unused))
    ended = select(jobs.c.id).where(jobs.c.finished_at < now() - DAY_S)
    connection.execute(
        delete(events).where(events.c.kind.in_(("progress", "pieces", "log")), events.c.job_id.in_(ended))
    )
