"""Rows of the queue as values, and values as rows; shared by `queue` and `lease`."""

# SQLAlchemy leaves the kinds of its number types open.
# pyright: reportUnknownArgumentType=false

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Double, Row, bindparam, func, literal, null, select

from ..storage import tables
from ..storage.compiled_statement import InsertNew, Statement
from ..storage.tables import events, jobs, now, provider_tasks, steps
from .job import Event, Job, NewJob, Status, StepRecord, TaskRecord

STEP_COLUMNS = [steps.c[name] for name in StepRecord.__dataclass_fields__]
REQUIRED = ("id", "kind", "user_id", "project", "graph", "input", "timeout_s", "price")
OPTIONAL = ("idempotency_key", "request_digest", "webhook_url")
START: dict[str, Any] = {"status": "queued", "submission": 1, "attempts": 0, "fence": 0, "cancel_requested": False}
QUEUED = json.dumps({"status": "queued"})
# The columns of a listed job.
BRIEF: list[ColumnElement[Any]] = [
    *(column for column in jobs.c if column.name not in ("input", "output")),
    literal("{}").label("input"),
    null().label("output"),
]
TASKS_KEPT_S = 6 * 3600.0  # for which a provider is expected to know a task
FIRST_EVENT = 1  # the number of the event with `QUEUED`


def _insert_job(insert: Any) -> Any:
    fields = {name: bindparam(name, type_=jobs.c[name].type) for name in ("rank", *REQUIRED, *OPTIONAL)}
    times = {"created_at": now(), "run_at": now() + bindparam("delay_s", type_=Double())}
    return (
        insert(jobs)
        .values(**fields, **times, **START)
        .on_conflict_do_nothing()
        .returning(jobs.c.created_at, jobs.c.run_at)
    )


INSERT_JOB = Statement(_insert_job)
INSERT_EVENTS = InsertNew(events, created_at=now())


def job_of(row: Row[Any]) -> Job:
    fields: dict[str, Any] = {name: getattr(row, name) for name in Job.__dataclass_fields__}
    fields["cancel_requested"] = bool(row.cancel_requested)  # SQLite stores a number
    return Job(**fields)


def new_job_of(new: NewJob, created_at: float, run_at: float) -> Job:
    """The job that was just inserted, made without a query: reading the row back costs more than writing it."""
    blank: dict[str, Any] = dict.fromkeys(Job.__dataclass_fields__)
    times: dict[str, Any] = {"created_at": created_at, "run_at": run_at}
    return Job(**{**blank, **START, **row_of(new), **times})


def row_of(new: NewJob) -> dict[str, Any]:
    return {"rank": -new.priority, **{name: getattr(new, name) for name in (*REQUIRED, *OPTIONAL)}}


def step_records(connection: Connection, job_id: str) -> tuple[StepRecord, ...]:
    """The finished steps of a job, in the order they began."""
    query = select(*STEP_COLUMNS).where(steps.c.job_id == job_id).order_by(steps.c.started_at, steps.c.name)
    return tuple(StepRecord(**row) for row in connection.execute(query).mappings())


def task_records(connection: Connection, job_id: str) -> tuple[tuple[TaskRecord, ...], ...]:
    """The provider's tasks of a job's unfinished steps, together by step."""
    columns = [provider_tasks.c[name] for name in TaskRecord.__dataclass_fields__]
    done = select(steps.c.name).where(steps.c.job_id == job_id)
    recent = provider_tasks.c.created_at > now() - TASKS_KEPT_S
    query = select(*columns).where(provider_tasks.c.job_id == job_id, provider_tasks.c.step.not_in(done), recent)
    rows = connection.execute(query.order_by(provider_tasks.c.step, provider_tasks.c.created_at)).mappings()
    records = [TaskRecord(**row) for row in rows]
    return tuple(tuple(of_step) for _, of_step in itertools.groupby(records, key=lambda record: record.step))


def last_event(connection: Connection, job_id: str) -> int:
    """The number of a job's last event so far; 0 if it has none."""
    return connection.execute(select(func.max(events.c.seq)).where(events.c.job_id == job_id)).scalar() or 0


def write_events(connection: Connection, new_events: Sequence[Event]) -> None:
    """Insert events; those already there, from a commit whose reply was lost, stay as they are."""
    INSERT_EVENTS(connection, [vars(event) for event in new_events])


def end_state(status: Status, error: Mapping[str, Any] | None) -> dict[str, Any]:
    """The data of a job's last event."""
    return {"status": status} if error is None else {"status": status, "error": error}


# Whether a job's user has any webhook. (Not EXISTS: SQLite's RETURNING takes both sides of its condition for one.)
LISTENS = jobs.c.user_id.in_(select(tables.webhooks.c.user_id).where(tables.webhooks.c.disabled_at.is_(None)))


def enqueue(connection: Connection, new: NewJob) -> None:
    """Queue a system job, unless a job with its idempotency key exists."""
    INSERT_JOB(connection, **row_of(new), delay_s=new.delay_s)
