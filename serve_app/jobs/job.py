"""The values of the durable queue: a job, its finished steps, its events."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..identity import DEFAULT_PROJECT

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Kind = Literal["graph", "webhook", "cleanup"]
EventKind = Literal["state", "step", "progress", "pieces", "log"]
STATUSES: tuple[Status, ...] = ("queued", "running", "succeeded", "failed", "cancelled")
ENDED = frozenset({"succeeded", "failed", "cancelled"})
GRAPH, WEBHOOK, CLEANUP = "graph", "webhook", "cleanup"
SYSTEM = ""  # the user of clean-ups
ENDPOINT = "whk_"  # begins the id of a webhook, the user of its deliveries
DELIVERY_RANK = 1000  # beyond the ranks of graphs


@dataclass(frozen=True)
class NewJob:
    """A job before it is queued. `input` is JSON with media as artifact ids."""

    id: str
    user_id: str
    graph: str
    input: str
    kind: Kind = "graph"
    priority: int = 0  # -10 to 10, higher first
    delay_s: float = 0.0
    timeout_s: float = 3600.0
    price: int = 0
    idempotency_key: str | None = None
    request_digest: str | None = None
    webhook_url: str | None = None
    project: str = DEFAULT_PROJECT


@dataclass(frozen=True)
class Job:
    """A row of the queue. Times are seconds since the epoch by the database's clock."""

    id: str
    kind: Kind
    user_id: str
    project: str
    graph: str
    input: str = field(repr=False)
    status: Status
    rank: int
    run_at: float
    timeout_s: float
    submission: int
    attempts: int
    owner: str | None
    fence: int
    lease_until: float | None
    cancel_requested: bool
    progress: str | None = field(repr=False)
    output: str | None = field(repr=False)
    error: str | None = field(repr=False)
    idempotency_key: str | None
    request_digest: str | None
    webhook_url: str | None
    price: int
    charged: int | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True)
class Held:
    """A job and the fence its owner holds it by; every write of a run carries the fence."""

    job_id: str
    fence: int


@dataclass(frozen=True)
class StepRecord:
    """A finished step. `output` is JSON with media as artifact ids."""

    name: str
    call: str
    digest: str
    model: str
    attempts: int
    started_at: float
    seconds: float
    output: str = field(repr=False)
    cached: bool = False


@dataclass(frozen=True)
class Event:
    """Something that happened to a job; `seq` counts from 1 within it, `data` is JSON."""

    job_id: str
    seq: int
    kind: EventKind
    data: str

    @property
    def ends(self) -> bool:
        """Whether this is the job's last event, unless the job is retried."""
        return self.kind == "state" and json.loads(self.data)["status"] in ENDED


@dataclass(frozen=True)
class Claimed:
    """A job just claimed, with the finished steps of its earlier attempts."""

    job: Job
    steps: tuple[StepRecord, ...]
    next_seq: int
    seconds_left: float  # until the job times out, by the database's clock

    @property
    def held(self) -> Held:
        return Held(self.job.id, self.job.fence)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job. `data` is its output, or a problem."""

    status: Literal["succeeded", "failed", "cancelled"]
    data: Mapping[str, Any] | None = None
    charged: int = 0
