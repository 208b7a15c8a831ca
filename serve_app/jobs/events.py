"""Following jobs live: one reader for all jobs that a process follows, woken by the database.

PostgreSQL notifies of each commit (`LISTEN`). With SQLite, one connection polls the counter of changes, which reads no
table.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sqlalchemy import Connection, Integer, String, column, select, values

from ..errors import StorageUnavailable
from ..storage.database import Database
from ..storage.tables import events, jobs
from .job import ENDED, Event

log = logging.getLogger("ray.serve")
POLL_S = 0.02  # between two reads of SQLite's counter of changes
LISTEN_S = 5.0  # PostgreSQL: everything is read this often too, in case a notification was lost with a connection
MAX_WAITING = 10_000  # events that wait for a slow follower
BATCH_SIZE = 5_000  # events in one read


class _Close(Enum):
    """Why a follower gets no more events."""

    ENDED = "the job has ended"
    SLOW = "the follower took events too slowly"


@dataclass(eq=False)
class _Follower:
    seen: int
    queue: "asyncio.Queue[Event | _Close]" = field(default_factory=lambda: asyncio.Queue(MAX_WAITING))


class Tail:
    """The followers of jobs, and the reader that gives each its events."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._followers: dict[str, set[_Follower]] = {}
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._reader: asyncio.Task[None] | None = None
        self._ended = threading.Event()
        self._idle = threading.Event()  # cleared while there are followers

    async def follow(self, job_id: str, after: int = 0) -> AsyncIterator[Event]:
        """The events of a job one by one, see `batches`."""
        async with aclosing(self.batches(job_id, after)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def batches(self, job_id: str, after: int = 0) -> AsyncGenerator[list[Event], None]:
        """The events of a job after number `after`, past and future, until the job ends; events that are available
        together come in one list.

        Raises:
            StorageUnavailable: the database does not answer at the start, or the follower took events too slowly.
        """
        follower = _Follower(after)
        self._followers.setdefault(job_id, set()).add(follower)
        try:
            if await self._database.read(_has_ended, job_id):
                if past := await self._database.read(_events_after, {job_id: after}):
                    yield past
                return
            self._start()
            self._mark_changed(job_id)
            while True:
                waiting = [await follower.queue.get()]
                while not follower.queue.empty():
                    waiting.append(follower.queue.get_nowait())
                if batch := [event for event in waiting if isinstance(event, Event)]:
                    yield batch
                if waiting[-1] is _Close.ENDED:
                    return
                if waiting[-1] is _Close.SLOW:
                    raise StorageUnavailable(
                        "The client read the events too slowly. Follow again from the last event received."
                    )
        finally:
            self._followers[job_id].discard(follower)
            if not self._followers[job_id]:
                del self._followers[job_id]
            if not self._followers:
                self._idle.set()

    async def ended(self, job_id: str, seconds: float) -> bool:
        """Wait for the end of a job for at most `seconds`; returns whether it ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for _ in self.follow(job_id):
                    pass
                return True
        return False

    def stop(self) -> None:
        self._ended.set()
        self._idle.clear()
        if self._reader:
            self._reader.cancel()

    def _start(self) -> None:
        self._idle.clear()
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_on())
            watch = self._watch_sqlite if self._database.is_sqlite else self._listen
            threading.Thread(target=watch, name="events", daemon=True).start()

    def _mark_changed(self, job_id: str | None) -> None:
        """Note that a job has new events; None: any job may."""
        self._changed.update(self._followers if job_id is None else {job_id} & self._followers.keys())
        if self._changed:
            self._wake.set()

    def _mark_changed_from_thread(self, job_id: str | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._mark_changed, job_id)

    async def _read_on(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, set()
            seen = {
                job_id: min(follower.seen for follower in followers)
                for job_id in changed
                if (followers := self._followers.get(job_id))
            }
            if not seen:
                continue
            try:
                new_events, ended = await self._database.read(_events_and_ends_after, seen)
            except StorageUnavailable as error:
                log.warning("reading events failed: %s", error)
                await asyncio.sleep(0.5)
                self._mark_changed(None)
                continue
            # A follower that came during the read and needs earlier events is served by the next read.
            served = {
                job_id: [follower for follower in self._followers.get(job_id, ()) if follower.seen >= after]
                for job_id, after in seen.items()
            }
            for event in new_events:
                for follower in served[event.job_id]:
                    self._give(follower, event)
            for job_id in ended:
                for follower in served[job_id]:
                    self._give(follower, _Close.ENDED)
            if len(new_events) == BATCH_SIZE:
                self._mark_changed(None)

    def _give(self, follower: _Follower, item: "Event | _Close") -> None:
        if isinstance(item, Event):
            if item.seq <= follower.seen:
                return
            follower.seen = item.seq
        if follower.queue.qsize() < MAX_WAITING - 1:
            follower.queue.put_nowait(item)
        elif not follower.queue.full():
            follower.queue.put_nowait(_Close.SLOW)

    def _watch_sqlite(self) -> None:
        def watch(connection: Connection) -> None:
            last = None
            while not self._ended.is_set():
                if self._idle.is_set():
                    time.sleep(POLL_S)
                    continue
                version = connection.exec_driver_sql("PRAGMA data_version").scalar()
                if version != last:
                    last = version
                    self._mark_changed_from_thread(None)
                time.sleep(POLL_S)

        while not self._ended.is_set():
            try:
                self._database.watch_here(watch)
            except StorageUnavailable:
                time.sleep(0.5)

    def _listen(self) -> None:
        import psycopg

        while not self._ended.is_set():
            try:
                with psycopg.connect(self._database.psycopg_url, autocommit=True, connect_timeout=3) as connection:
                    connection.execute("LISTEN medley_events")
                    while not self._ended.is_set():
                        self._mark_changed_from_thread(None)
                        for message in connection.notifies(timeout=LISTEN_S):
                            self._mark_changed_from_thread(message.payload)
            except psycopg.Error as error:
                log.warning("listening for events failed: %s", type(error).__name__)
                time.sleep(0.5)


def _has_ended(connection: Connection, job_id: str) -> bool:
    status = connection.execute(select(jobs.c.status).where(jobs.c.id == job_id)).scalar()
    return status is None or status in ENDED


def _events_and_ends_after(connection: Connection, seen: dict[str, int]) -> tuple[list[Event], set[str]]:
    """The new events, and the ids of the jobs whose last event is among them; read once for all followers."""
    new_events = _events_after(connection, seen)
    ending = {event.job_id for event in new_events if event.ends}
    if not ending:
        return new_events, ending
    running = select(jobs.c.id).where(jobs.c.id.in_(ending), jobs.c.status.not_in(ENDED))  # retried meanwhile
    return new_events, ending - set(connection.execute(running).scalars())


def _events_after(connection: Connection, seen: dict[str, int]) -> list[Event]:
    """The events after the last number seen of each job, read in one statement."""
    last: Any = (
        values(column("job_id", String), column("seq", Integer), name="last_seen").data(list(seen.items())).cte()
    )
    query = (
        select(events.c.job_id, events.c.seq, events.c.kind, events.c.data)
        .join(last, (events.c.job_id == last.c.job_id) & (events.c.seq > last.c.seq))
        .order_by(events.c.job_id, events.c.seq)
        .limit(BATCH_SIZE)
    )
    return [Event(row.job_id, row.seq, row.kind, row.data) for row in connection.execute(query)]
