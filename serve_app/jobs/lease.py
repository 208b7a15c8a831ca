"""The queue as workers see it: claim and renew jobs, commit steps, finish, hand over. Functions of a connection.

A claim gives a lease and a fence. Every write of a run carries the fence, and a write that matches no row means that
another owner has taken over: stop at once and write nothing.
"""

# SQLAlchemy leaves the kinds of its number types open.
# pyright: reportUnknownArgumentType=false

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Boolean,
    Connection,
    Double,
    Integer,
    String,
    Text,
    and_,
    bindparam,
    func,
    or_,
    select,
    tuple_,
    update,
)

from ..errors import WorkerLost, problem
from ..storage.artifacts import Artifact
from ..storage.artifacts import insert as insert_artifact
from ..storage.compiled_statement import InsertNew, Statement, insert_new
from ..storage.locks import CLAIM_LOCK, lock
from ..storage.tables import events, jobs, now, provider_tasks, steps
from . import queue, settlement
from .job import GRAPH, Claimed, Event, Held, Job, NewJob, Outcome, StepRecord, TaskRecord
from .next_jobs import EXPIRED, QUEUED_AND_DUE, RUNS, Lane, Terms, candidates
from .rows import FIRST_EVENT, LISTENS, end_state, job_of, step_records, task_records, write_events
from .serialization import stored


class LeaseLost(Exception):
    """Another owner has the job now"""


@dataclass(frozen=True)
class Renewed:
    """The jobs that a renewal found lost or cancelled."""

    lost: frozenset[Held]
    cancelled: frozenset[Held]


MINE = and_(
    jobs.c.id == bindparam("job_id", type_=String()),
    jobs.c.fence == bindparam("held_fence", type_=Integer()),
    jobs.c.status == "running",
)

TAKE = (
    update(jobs)
    .where(
        jobs.c.id.in_(bindparam("ids", expanding=True)),
        or_(QUEUED_AND_DUE, and_(EXPIRED, bindparam("steal", type_=Boolean()))),
    )
    .values(
        status="running",
        owner=bindparam("new_owner", type_=String()),
        fence=jobs.c.fence + 1,
        attempts=jobs.c.attempts + 1,
        lease_until=now() + bindparam("lease_s", type_=Double()),
        started_at=func.coalesce(jobs.c.started_at, now()),
    )
    .returning(*jobs.c, now().label("at"))
)
HOLD = Statement(
    lambda _: (
        update(jobs)
        .where(MINE)
        .values(progress=func.coalesce(bindparam("new_progress", type_=Text()), jobs.c.progress))
    )
)
END = Statement(
    lambda _: (
        update(jobs)
        .where(MINE)
        .values(
            status=bindparam("new_status", type_=String()),
            owner=None,
            lease_until=None,
            output=bindparam("new_output", type_=Text()),
            error=bindparam("new_error", type_=Text()),
            charged=bindparam("new_charged", type_=Integer()),
            finished_at=now(),
            expires_at=now() + bindparam("keep_s", type_=Double()),
        )
        # Few columns: reading one costs as much as writing it.
        .returning(jobs.c.kind, jobs.c.price, jobs.c.webhook_url, LISTENS.label("listens"))
    )
)
INSERT_STEPS = InsertNew(steps)


def claim(
    connection: Connection, owner: str, terms: Terms, most: int = 1, steal: bool = True, lane: Lane = RUNS
) -> list[Claimed]:
    """Claim the jobs to run next, at most `most`.

    A job that lost `max_attempts` owners fails instead: the job itself is the likely cause.
    """
    lock(connection, CLAIM_LOCK)  # two owners must not claim the same job, nor the same last free slot of a user
    while chosen := candidates(connection, terms, most, steal, lane):
        if claimed := take(connection, owner, terms, chosen, steal):
            return claimed
    return []


def take(connection: Connection, owner: str, terms: Terms, chosen: Sequence[str], steal: bool = True) -> list[Claimed]:
    """Claim the chosen jobs, without those that another owner has by now or that end here."""
    parameters = {"ids": chosen, "steal": steal, "new_owner": owner, "lease_s": terms.lease_s}
    rows = connection.execute(TAKE, parameters).all()
    lasts = _last_events(connection, [row.id for row in rows if row.fence > 1 or row.submission > 1])
    claimed: list[Claimed] = []
    new_events: list[Event] = []
    for row in sorted(rows, key=lambda row: chosen.index(row.id)):
        job, last = job_of(row), lasts.get(row.id, FIRST_EVENT if row.kind == GRAPH else 0)
        if job.cancel_requested or job.attempts > terms.max_attempts:
            outcome = _ended_without_run(job, terms)
            finish(connection, Held(job.id, job.fence), outcome, last + 1, keep_s=terms.keep_s)
            continue
        done, tasks = (
            (step_records(connection, job.id), task_records(connection, job.id)) if job.fence > 1 else ((), ())
        )
        if job.kind == GRAPH:
            data = {"status": "running", "attempt": job.attempts}
            new_events.append(Event(job.id, last + 1, "state", json.dumps(data)))
        left = job.timeout_s - (row.at - (job.started_at or row.at))
        claimed.append(Claimed(job, done, last + 2, left, tasks))
    write_events(connection, new_events)
    return claimed


def _last_events(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """The numbers of the last events of jobs that had an owner or were retried; a new job has only its first event.

    A query of its own: TAKE may have waited for a late owner's commit, and would not see that commit's events.
    """
    if not ids:
        return {}
    last = select(events.c.job_id, func.max(events.c.seq)).where(events.c.job_id.in_(ids)).group_by(events.c.job_id)
    return {job_id: seq for job_id, seq in connection.execute(last)}


def _ended_without_run(job: Job, terms: Terms) -> Outcome:
    if job.cancel_requested:
        return Outcome("cancelled")
    lost = WorkerLost(f"{terms.max_attempts} workers were lost while they ran this job.")
    return Outcome("failed", problem(lost, f"/api/v1/jobs/{job.id}", job.id))


def adopt(
    connection: Connection, owner: str, terms: Terms, new: NewJob, artifacts: Sequence[Artifact]
) -> Claimed | Job:
    """Make a run that its owner has begun a job of the owner; returns an earlier job with the same key, if any.

    Raises:
        InvalidRequest: the key was used with another request.
        InsufficientCredit: the user has less than the price.
    """
    job, made = queue.create(connection, new, artifacts)
    if not made and not (job.id == new.id and job.status == "queued"):
        return job
    claimed = take(connection, owner, terms, [job.id])
    if not claimed:
        raise LeaseLost
    return claimed[0]


def renew(connection: Connection, held: Iterable[Held], lease_s: float) -> Renewed:
    """Renew the leases of held jobs; returns the jobs that were lost or cancelled."""
    by_key = {(job.job_id, job.fence): job for job in held}
    mine = tuple_(jobs.c.id, jobs.c.fence).in_(list(by_key))
    rows = connection.execute(
        update(jobs)
        .where(mine, jobs.c.status == "running")
        .values(lease_until=now() + lease_s)
        .returning(jobs.c.id, jobs.c.fence, jobs.c.cancel_requested)
    ).all()
    cancelled = frozenset(by_key[row.id, row.fence] for row in rows if row.cancel_requested)
    renewed = {(row.id, row.fence) for row in rows}
    return Renewed(frozenset(job for key, job in by_key.items() if key not in renewed), cancelled)


def commit_step(
    connection: Connection,
    held: Held,
    record: StepRecord,
    artifacts: Sequence[Artifact] = (),
    new_events: Sequence[Event] = (),
    progress: str | None = None,
) -> None:
    """Commit a finished step, so that no later attempt repeats it. Idempotent.

    Raises:
        LeaseLost: another owner has the job.
    """
    _hold(connection, held, progress)
    for artifact in artifacts:
        insert_artifact(connection, artifact)
    # A step that was committed before, in a commit whose reply was lost, stays as it is.
    INSERT_STEPS(connection, [{**vars(record), "job_id": held.job_id, "fence": held.fence}])
    write_events(connection, new_events)


def keep_task(connection: Connection, held: Held, record: TaskRecord) -> None:
    """Keep a task that an unfinished step has a provider do, so that a later attempt takes it up again. Idempotent.

    Raises:
        LeaseLost: another owner has the job.
    """
    _hold(connection, held, None)
    connection.execute(insert_new(connection, provider_tasks, **vars(record), job_id=held.job_id, created_at=now()))


def note(connection: Connection, held: Held, new_events: Sequence[Event], progress: str | None = None) -> None:
    """Write events between the commits of steps.

    Raises:
        LeaseLost: another owner has the job.
    """
    _hold(connection, held, progress)
    write_events(connection, new_events)


def finish(
    connection: Connection,
    held: Held,
    outcome: Outcome,
    seq: int,
    artifacts: Sequence[Artifact] = (),
    new_events: Sequence[Event] = (),
    keep_s: float | None = None,
) -> None:
    """End the job: state, output, credits, webhooks and last event in one transaction. Idempotent.

    Args:
        seq: the number of the job's last event, which comes after `new_events`.
        keep_s: how long the job stays in the history, in seconds.

    Raises:
        LeaseLost: another owner has the job, or it ended with another status.
    """
    document = None if outcome.data is None else stored(outcome.data)
    succeeded = outcome.status == "succeeded"
    ended = END(
        connection,
        job_id=held.job_id,
        held_fence=held.fence,
        new_status=outcome.status,
        new_output=document if succeeded else None,
        new_error=None if succeeded else document,
        new_charged=outcome.charged,
        keep_s=keep_s,
    ).first()
    if ended is None:
        row = connection.execute(select(jobs).where(jobs.c.id == held.job_id, jobs.c.fence == held.fence)).first()
        if row is None or row.status != outcome.status:
            raise LeaseLost
        return  # committed before, in a commit whose reply was lost
    if ended.kind != GRAPH:
        return
    for artifact in artifacts:
        insert_artifact(connection, artifact)
    last = Event(held.job_id, seq, "state", json.dumps(end_state(outcome.status, None if succeeded else outcome.data)))
    write_events(connection, [*new_events, last])
    if ended.price or ended.webhook_url or ended.listens:
        job = job_of(connection.execute(select(jobs).where(jobs.c.id == held.job_id)).one())
        settlement.after_end(connection, job, outcome.charged, bool(ended.listens))


def requeue(
    connection: Connection, held: Held, delay_s: float, new_events: Sequence[Event] = (), *, uncounted: bool = False
) -> None:
    """Put the job back in the queue: after a transient failure or, `uncounted`, because the owner shuts down.

    Raises:
        LeaseLost: another owner has the job.
    """
    values: dict[str, Any] = {"status": "queued", "owner": None, "lease_until": None, "run_at": now() + delay_s}
    if uncounted:
        values["attempts"] = jobs.c.attempts - 1
    mine = {"job_id": held.job_id, "held_fence": held.fence}
    if not connection.execute(update(jobs).where(MINE).values(**values), mine).rowcount:
        raise LeaseLost
    write_events(connection, new_events)


def _hold(connection: Connection, held: Held, progress: str | None) -> None:
    """Check the fence, and lock the row until the transaction ends."""
    if not HOLD(connection, job_id=held.job_id, held_fence=held.fence, new_progress=progress).rowcount:
        raise LeaseLost
