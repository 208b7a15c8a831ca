"""The queue as users see it: create, find, list, cancel and retry jobs. Functions of a connection.

Every query is restricted to the user, so another user's job looks like a job that never existed.
"""

# SQLAlchemy leaves the kinds of its number types open.
# pyright: reportUnknownArgumentType=false

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, or_, select, update

from ..accounts import ledger
from ..errors import Conflict, FieldError, InvalidRequest, NotFound
from ..storage.artifacts import Artifact
from ..storage.artifacts import insert as insert_artifact
from ..storage.tables import jobs, now
from . import text_search
from .job import GRAPH, Event, EventKind, Job, NewJob, Status
from .rows import (
    BRIEF,
    FIRST_EVENT,
    INSERT_JOB,
    QUEUED,
    end_state,
    job_of,
    last_event,
    new_job_of,
    row_of,
    write_events,
)
from .settlement import after_end

SEARCHED = 100  # jobs that a search preselects at once
ROUNDED_S = 1e-6  # a time shown to users is rounded to this, so it may be later than the stored time by less


@dataclass(frozen=True)
class Filters:
    """Filters on a user's job history; None matches any job."""

    graph: str | None = None
    status: Status | None = None
    since: float | None = None  # created, seconds since the epoch
    until: float | None = None
    text: str | None = None  # part of a value in the input or output


def create(connection: Connection, new: NewJob, artifacts: Sequence[Artifact] = ()) -> tuple[Job, bool]:
    """Create a job; returns it and whether it is new: the same idempotency key returns the same job again.

    The job, its credits and its inputs are written in one transaction. A repeated call with the same id, after a lost
    reply, changes nothing.

    Raises:
        InvalidRequest: the key was used with another request.
        InsufficientCredit: the user has less than the price.
    """
    made = INSERT_JOB(connection, **row_of(new), delay_s=new.delay_s).first()
    if made is None:
        return _known(connection, new), False
    if new.price:
        ledger.reserve(connection, new.user_id, new.id, 1, new.price)
    for artifact in artifacts:
        insert_artifact(connection, artifact)
    write_events(connection, [Event(new.id, FIRST_EVENT, "state", QUEUED)])
    return new_job_of(new, made.created_at, made.run_at), True


def _known(connection: Connection, new: NewJob) -> Job:
    same = jobs.c.id == new.id
    if new.idempotency_key is not None:
        same = or_(same, (jobs.c.user_id == new.user_id) & (jobs.c.idempotency_key == new.idempotency_key))
    row = connection.execute(select(jobs).where(same)).first()
    if row is None:  # deleted since; the key is free again
        raise Conflict("The job with this idempotency key has just been deleted. Send the request again.")
    if row.request_digest != new.request_digest:
        raise InvalidRequest(
            [FieldError("Idempotency-Key", f"was already used for another request (job {row.id})", "idempotency_key")]
        )
    return job_of(row)


def find(connection: Connection, user: str, job_id: str) -> Job:
    """A user's job.

    Raises:
        NotFound: no job has this id, or the job is another user's.
    """
    mine = select(jobs).where(jobs.c.id == job_id, jobs.c.user_id == user, jobs.c.kind == GRAPH)
    row = connection.execute(mine).first()
    if row is None:
        raise NotFound(f"There is no job {job_id[:80]!r}.")
    return job_of(row)


def page(connection: Connection, user: str, filters: Filters, limit: int, before: str | None = None) -> list[Job]:
    """A user's jobs, newest first, at most `limit`, older than the job `before`; without their inputs and outputs."""
    query: Select[Any] = select(*BRIEF).where(jobs.c.user_id == user, jobs.c.kind == GRAPH)
    if filters.graph is not None:
        query = query.where(jobs.c.graph == filters.graph)
    if filters.status is not None:
        query = query.where(jobs.c.status == filters.status)
    if filters.since is not None:
        query = query.where(jobs.c.created_at >= filters.since - ROUNDED_S)
    if filters.until is not None:
        query = query.where(jobs.c.created_at < filters.until - ROUNDED_S)
    if filters.text:
        return _search(connection, query, filters.text, limit, before)
    return [job_of(row) for row in _older(connection, query, limit, before)]


def _search(connection: Connection, query: Select[Any], text: str, limit: int, before: str | None) -> list[Job]:
    """The newest jobs of a query that hold a text, at most `limit`."""
    found: list[Job] = []
    query = query.where(text_search.preselects(text))
    while True:
        rows = _older(connection, query, SEARCHED, before)
        found += [job_of(row) for row in rows if text_search.holds(*_documents(connection, row.id), text=text)]
        if len(found) >= limit or len(rows) < SEARCHED:
            return found[:limit]
        before = rows[-1].id


def _documents(connection: Connection, job_id: str) -> tuple[str | None, str | None]:
    """A job's input and output: one job's at a time, since they may have megabytes."""
    row = connection.execute(select(jobs.c.input, jobs.c.output).where(jobs.c.id == job_id)).first()
    return (row.input, row.output) if row else (None, None)


def _older(connection: Connection, query: Select[Any], limit: int, before: str | None) -> Sequence[Row[Any]]:
    if before is not None:
        query = query.where(jobs.c.id < before)
    return connection.execute(query.order_by(jobs.c.id.desc()).limit(limit)).all()


def cancel(connection: Connection, user: str, job_id: str, keep_s: float) -> Job:
    """Cancel a job: a queued job ends at once, a running job's owner is asked to stop, an ended job stays as it is.

    Args:
        keep_s: how long the job stays in the history, in seconds.

    Raises:
        NotFound: as `find`.
    """
    find(connection, user, job_id)
    ended = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status == "queued")
        .values(status="cancelled", cancel_requested=True, finished_at=now(), expires_at=now() + keep_s, charged=0)
    )
    if ended.rowcount:
        job = find(connection, user, job_id)
        append(connection, job_id, "state", end_state(job.status, None))
        after_end(connection, job, 0, listens=True)
    else:
        running = update(jobs).where(jobs.c.id == job_id, jobs.c.status == "running")
        connection.execute(running.values(cancel_requested=True))
    return find(connection, user, job_id)


def retry(connection: Connection, user: str, job_id: str) -> Job:
    """Queue a failed or cancelled job again; finished steps are not repeated.

    Raises:
        NotFound: as `find`.
        Conflict: the job has not ended, or has succeeded.
        InsufficientCredit: the user has less than the price.
    """
    job = find(connection, user, job_id)
    if job.status not in ("failed", "cancelled"):
        raise Conflict(f"The job {'has succeeded' if job.ended else 'has not ended yet'}: there is nothing to retry.")
    fresh: dict[str, Any] = dict.fromkeys(("error", "progress", "started_at", "finished_at", "charged", "expires_at"))
    again = update(jobs).where(jobs.c.id == job_id, jobs.c.submission == job.submission, jobs.c.status == job.status)
    changed = connection.execute(
        again.values(
            status="queued",
            submission=job.submission + 1,
            attempts=0,
            cancel_requested=False,
            run_at=now(),
            **fresh,
        )
    )
    if not changed.rowcount:
        raise Conflict("The job is already being retried.")
    ledger.reserve(connection, user, job_id, job.submission + 1, job.price)
    append(connection, job_id, "state", {"status": "queued"})
    return find(connection, user, job_id)


def append(connection: Connection, job_id: str, kind: EventKind, data: dict[str, Any]) -> None:
    """Append an event to a job that no worker runs; the owner of a running job numbers its events itself."""
    write_events(connection, [Event(job_id, last_event(connection, job_id) + 1, kind, json.dumps(data))])
