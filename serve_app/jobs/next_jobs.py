"""The jobs to run next: which of those that wait, in order, within the limits of their users. Functions of a connection
that only read."""

# SQLAlchemy leaves the kinds of its number types open.
# pyright: reportUnknownArgumentType=false

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Boolean, Connection, Integer, and_, bindparam, func, literal, select, union_all

from ..storage.compiled_statement import Statement
from ..storage.tables import jobs, now
from .job import DELIVERY_RANK, ENDPOINT, SYSTEM


@dataclass(frozen=True)
class Terms:
    """The terms of a claim.

    Args:
        lease_s: how long a silent owner keeps the job, in seconds.
        per_user: graph runs of one user at a time.
        per_endpoint: deliveries to one webhook at a time.
        max_attempts: owners a job may lose before it fails as the likely cause of their deaths.
        keep_s: how long a job that a claim ends stays in the history, in seconds.
    """

    lease_s: float = 5.0
    per_user: int = 8
    per_endpoint: int = 4
    max_attempts: int = 5
    keep_s: float = 7 * 86400.0

    def most_at_once(self, user: str) -> float:
        """Jobs of one user that may run at a time; the user of a delivery is its webhook."""
        if user == SYSTEM:
            return math.inf
        return self.per_endpoint if user.startswith(ENDPOINT) else self.per_user


class Lane(NamedTuple):
    """A range of ranks with slots of its own, so that slow work of one kind does not hold up the other."""

    first_rank: int
    last_rank: int


RUNS = Lane(-100, DELIVERY_RANK - 1)
DELIVERIES = Lane(DELIVERY_RANK, DELIVERY_RANK)


QUEUED_AND_DUE = and_(jobs.c.status == "queued", jobs.c.run_at <= now())
EXPIRED = and_(jobs.c.status == "running", jobs.c.lease_until < now())
COLUMNS = (jobs.c.id, jobs.c.user_id)
IN_ORDER = (jobs.c.rank, jobs.c.run_at, jobs.c.id)

_others = jobs.alias("others")
# The number of jobs of its kind that run for a job's user.
RUNNING = (
    select(func.count())
    .select_from(_others)
    .where(_others.c.user_id == jobs.c.user_id, _others.c.status == "running", _others.c.kind == jobs.c.kind)
    .correlate(jobs)
    .scalar_subquery()
)
IN_LANE = jobs.c.rank.between(bindparam("first_rank", type_=Integer()), bindparam("last_rank", type_=Integer()))
DUE = (
    select(*COLUMNS, RUNNING.label("running"), literal(1).label("turn"))
    .where(QUEUED_AND_DUE, IN_LANE)
    .order_by(*IN_ORDER)
)

NEXT = Statement(
    lambda _: union_all(
        select(*COLUMNS, literal(0).label("running"), literal(0).label("turn"))
        .where(EXPIRED, IN_LANE, bindparam("steal", type_=Boolean()))
        .order_by(jobs.c.lease_until)
        .limit(bindparam("most", type_=Integer()))
        .subquery()
        .select(),
        DUE.limit(bindparam("most", type_=Integer())).subquery().select(),
    ).order_by("turn")
)


def ready(connection: Connection, terms: Terms, most: int = 64) -> int:
    """The number of workers to call: one for each job that waits for an owner, up to `most`, and one for all deliveries
    that are due; none for jobs whose users are at their limits."""
    deliveries = bool(candidates(connection, terms, lane=DELIVERIES))
    if not candidates(connection, terms):
        return int(deliveries)
    waiting = [
        select(jobs.c.id).where(waits, IN_LANE).limit(most).subquery().select() for waits in (EXPIRED, QUEUED_AND_DUE)
    ]
    return min(most, len(connection.execute(union_all(*waiting), RUNS._asdict()).all()) + deliveries)


def candidates(connection: Connection, terms: Terms, most: int = 1, steal: bool = True, lane: Lane = RUNS) -> list[str]:
    """The jobs to run next: jobs whose owner fell silent, then due jobs, in order and within users' limits.

    Only reads, so an idle owner never holds the write lock.
    """
    rows = NEXT(connection, steal=steal, most=most, **lane._asdict()).all()
    chosen = _within_limits(rows, terms)
    if not chosen and rows:  # the users of the first jobs in line are all at their limits
        chosen = _within_limits(_of_other_users(connection, most, terms, lane), terms)
    return chosen[:most]


def _within_limits(rows: Iterable[Any], terms: Terms) -> list[str]:
    running: dict[str, int] = {}
    chosen: list[str] = []
    for row in rows:
        if row.turn and row.user_id != SYSTEM:
            count = running.setdefault(row.user_id, row.running)
            if count >= terms.most_at_once(row.user_id):
                continue
            running[row.user_id] = count + 1
        chosen.append(row.id)
    return chosen


def _of_other_users(connection: Connection, most: int, terms: Terms, lane: Lane) -> Sequence[Any]:
    """The first due jobs of users below their limits."""
    running = select(jobs.c.user_id, func.count()).where(jobs.c.status == "running", IN_LANE)
    counts = connection.execute(running.group_by(jobs.c.user_id), lane._asdict()).all()
    busy = [user for user, count in counts if count >= terms.most_at_once(user)]
    return connection.execute(DUE.where(jobs.c.user_id.not_in(busy)).limit(most), lane._asdict()).all()
