"""What each user keeps here, held within the profile's limits."""

import time
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ..config.schema import JobsConfig
from ..errors import LimitReached, QuotaExceeded
from ..storage.database import Database
from ..storage.tables import artifacts, jobs, webhooks

REFRESH_S = 5.0  # between two counts of one user; what this process adds in between is counted at once


@dataclass
class Kept:
    """What a user keeps, counted at a time of this process's clock."""

    at: float
    stored: int  # bytes of artifacts
    jobs: int
    waiting: int  # jobs that wait for a worker
    webhooks: int  # those of jobs' own URLs included


class Usage:
    """The limits of what users may keep. They are soft: a request that is admitted may go beyond, the next is refused.

    Args:
        database: the database that is counted.
        config: has the limits.
    """

    def __init__(self, database: Database, config: JobsConfig) -> None:
        self._database, self._config = database, config
        self._kept = dict[str, Kept]()

    async def admit_upload(self, user: str, size: int) -> None:
        """Count an artifact of `size` bytes.

        Raises:
            QuotaExceeded: the user's artifacts would have more than `max_stored_gb`.
            StorageUnavailable: the database does not answer.
        """
        kept = await self._of(user)
        self._check_stored(kept, size)
        kept.stored += size

    async def admit_job(self, user: str, own_url: bool = False) -> None:
        """Count a new job.

        Args:
            own_url: whether the job has a webhook URL of its own.

        Raises:
            LimitReached: the user has as many jobs, waiting jobs or webhooks as one may have.
            QuotaExceeded: the user's artifacts have `max_stored_gb`.
            StorageUnavailable: the database does not answer.
        """
        kept, config = await self._of(user), self._config
        self._check_stored(kept, 1)
        if kept.waiting >= config.max_waiting:
            raise LimitReached("jobs.max_waiting", f"{kept.waiting:,} of your jobs are waiting")
        if kept.jobs >= config.max_jobs:
            raise LimitReached("jobs.max_jobs", f"{kept.jobs:,} of your jobs are kept")
        if own_url and kept.webhooks >= config.max_webhooks:
            raise LimitReached("jobs.max_webhooks", f"You have {kept.webhooks:,} webhooks, with those of jobs")
        kept.jobs, kept.waiting = kept.jobs + 1, kept.waiting + 1

    def _check_stored(self, kept: Kept, size: int) -> None:
        most = int(self._config.max_stored_gb * 1e9)
        if kept.stored + size > most:
            raise QuotaExceeded(
                f"Your artifacts have {kept.stored:,} bytes; at most {most:,} are kept (jobs.max_stored_gb). "
                "Delete some, or wait until they expire."
            )

    async def _of(self, user: str) -> Kept:
        kept = self._kept.get(user)
        if kept is None or time.monotonic() - kept.at > REFRESH_S:
            self._kept = {name: other for name, other in self._kept.items() if time.monotonic() - other.at <= REFRESH_S}
            kept = self._kept[user] = Kept(time.monotonic(), *await self._database.read(_count, user))
        return kept


def _count(connection: Connection, user: str) -> tuple[int, int, int, int]:
    stored = select(func.coalesce(func.sum(artifacts.c.size), 0)).where(artifacts.c.user_id == user)
    mine = (jobs.c.user_id == user) & (jobs.c.kind == "graph")
    counts = (
        stored,
        select(func.count()).select_from(jobs).where(mine),
        select(func.count()).select_from(jobs).where(mine, jobs.c.status == "queued"),
        select(func.count()).select_from(webhooks).where(webhooks.c.user_id == user),
    )
    return tuple(int(connection.execute(count).scalar_one()) for count in counts)  # pyright: ignore[reportReturnType]  # four
