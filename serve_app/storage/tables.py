"""The tables. One database has all the data that must stay consistent: jobs, their steps, credits and webhooks.

Times are seconds since the epoch by the database's clock (`now()`), never a host's. JSON is text: only Python reads it.
"""

# SQLAlchemy leaves the kinds of its number and foreign-key types open.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import re
import secrets
import time
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from ..identity import DEFAULT_PROJECT

metadata = MetaData()


ID = re.compile(r"[a-z]{2,4}_[0-9a-f]{28}")  # what `new_id` makes


def new_id(prefix: str) -> str:
    """A new id, which cannot be guessed and sorts by its creation time: the prefix, `_` and 28 hexadecimal digits."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


class now(FunctionElement[float]):  # lower case, like the SQL function it stands for
    """The database's clock, in seconds since the epoch; it advances within a transaction."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    # As a subquery it is evaluated once per statement, so that an index can be searched for its value.
    return "(SELECT extract(epoch from clock_timestamp())::float8)"


def _where(condition: str) -> dict[str, Any]:
    """The condition of a partial index."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(16), nullable=False),  # graph | webhook | cleanup
    Column("user_id", String(64), nullable=False),  # empty for system jobs
    Column("project", String(64), nullable=False, server_default=DEFAULT_PROJECT),
    Column("graph", String(80), nullable=False),
    Column("input", Text, nullable=False),  # JSON, media as artifact ids
    Column("status", String(16), nullable=False),
    Column("rank", Integer, nullable=False, default=0),  # the priority with its sign turned: lowest first
    Column("run_at", Double, nullable=False),  # not before
    Column("timeout_s", Double, nullable=False),  # of all its attempts together, from the first start
    Column("submission", Integer, nullable=False, default=1),  # one more each time its owner retries it
    Column("attempts", Integer, nullable=False, default=0),  # times it was claimed in this submission
    Column("owner", String(64)),
    Column("fence", Integer, nullable=False, default=0),  # counts its owners: a stale one's writes are refused
    Column("lease_until", Double),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("progress", Text),  # JSON
    Column("output", Text),  # JSON, media as artifact ids
    Column("error", Text),  # JSON, a problem
    Column("idempotency_key", String(255)),
    Column("request_digest", String(64)),
    Column("webhook_url", Text),
    Column("price", Integer, nullable=False, default=0),  # credits reserved
    Column("charged", Integer),  # credits captured
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("expires_at", Double),
    UniqueConstraint("user_id", "idempotency_key", name="uq_jobs_idempotency"),
    # Small indexes over the few jobs that wait or run; the many ended jobs are in neither.
    Index("ix_jobs_ready", "rank", "run_at", "id", "user_id", **_where("status = 'queued'")),
    Index("ix_jobs_lease", "lease_until", **_where("status = 'running'")),
    Index("ix_jobs_running", "user_id", **_where("status = 'running'")),
    Index("ix_jobs_history", "user_id", "kind", "id"),
    Index("ix_jobs_expiry", "expires_at"),
)

steps = Table(
    "steps",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(120), primary_key=True),
    Column("call", String(120), nullable=False),  # parameter.method
    Column("digest", String(64), nullable=False),  # of the call's arguments
    Column("model", String(64), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("output", Text, nullable=False),  # JSON, media as artifact ids
    Column("cached", Boolean, nullable=False, default=False),
    Column("fence", Integer, nullable=False),
)

# The usual steps of a graph's runs, for the estimate of the time left: running means over the last runs.
durations = Table(
    "durations",
    metadata,
    Column("graph", String(80), primary_key=True),
    Column("call", String(120), primary_key=True),  # parameter.method
    Column("model", String(64), primary_key=True),
    Column("seconds", Double, nullable=False),  # of one such step
    Column("per_run", Double, nullable=False),  # such steps in a run
)

events = Table(
    "events",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),  # state | step | progress | log
    Column("data", Text, nullable=False),  # JSON
    Column("created_at", Double, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("user_id", String(64), nullable=False),
    Column("job_id", String(40)),
    Column("folder", String(16), nullable=False),  # inputs | outputs | references | temp
    Column("key", Text, nullable=False),  # where the store keeps the bytes
    Column("media_type", String(128), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),  # SHA-256, hexadecimal
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Index("ix_artifacts_expiry", "expires_at"),
    Index("ix_artifacts_job", "job_id"),
    Index("ix_artifacts_user", "user_id", "id"),
    Index("ix_artifacts_size", "user_id", "size"),
)

step_cache = Table(
    "step_cache",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("user_id", String(64), nullable=False),
    Column("model", String(64), nullable=False),
    Column("output", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),
    Index("ix_step_cache_used", "used_at"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("user_id", String(64), nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),  # whsec_...
    Column("events", Text, nullable=False),  # JSON list of event types; empty: all
    Column("created_at", Double, nullable=False),
    Column("disabled_at", Double),
    Column("disabled_reason", Text),
    Index("ix_webhooks_user", "user_id", "id"),
)

# The body of an event, stored once for all its deliveries.
messages = Table(
    "messages",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("body", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_messages_created", "created_at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("webhook_id", ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("job_id", String(40)),
    Column("type", String(64), nullable=False),  # job.succeeded, ...
    Column("status", String(16), nullable=False),  # pending | delivered | failed
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Double),
    Column("created_at", Double, nullable=False),
    Column("delivered_at", Double),
    Column("message_id", String(40), nullable=False, server_default=""),
    Index("ix_deliveries_webhook", "webhook_id", "id"),
    Index("ix_deliveries_message", "message_id"),
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery_id", ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("status_code", Integer),
    Column("error", Text),
)

balances = Table(
    "balances",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("available", BigInteger, nullable=False),
    CheckConstraint("available >= 0", name="ck_balances_available"),
)

# Append-only. A submission has at most one entry of each kind, so credits are never charged or refunded twice.
ledger = Table(
    "ledger",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("user_id", String(64), nullable=False),
    Column("job_id", String(40)),
    Column("submission", Integer),
    Column("kind", String(16), nullable=False),  # grant | reserve | capture | refund
    Column("amount", BigInteger, nullable=False),  # credits, never negative
    Column("created_at", Double, nullable=False),
    Column("source", String(64)),  # of a grant from elsewhere: stripe, invoice, ...
    Column("external_id", String(255)),  # the grant's id there
    UniqueConstraint("job_id", "submission", "kind", name="uq_ledger_job"),
    Index("ix_ledger_user", "user_id", "id"),
    Index("ix_ledger_external", "source", "external_id", unique=True),  # where both are given: nulls differ
)
