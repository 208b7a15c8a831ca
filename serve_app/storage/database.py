"""The database: SQLite in MEDLEY_HOME, or PostgreSQL by URL, behind one interface.

Queries are plain functions of a SQLAlchemy connection. `read` and `write` run such a function in a thread; the
heartbeat, which is a thread, calls `write_here`. Writes that wait for the same writer share its next transaction.

It uses threads instead of SQLAlchemy's asyncio: a transaction then changes threads once instead of at every statement
(measured: half the time on SQLite, the same on PostgreSQL).
"""

import asyncio
import contextlib
import functools
import os
import random
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy
from sqlalchemy import Connection, event
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import InvalidConfig, StorageUnavailable

T = TypeVar("T")
P = ParamSpec("P")
Work = Callable[Concatenate[Connection, P], T]

PARALLEL_WRITES = 3  # on PostgreSQL; fewer make larger groups
MAX_SHARED = 32  # writes in one transaction
IDLE_TIMEOUT_S = 5  # after which PostgreSQL ends a transaction that sends no statement
BUSY_TIMEOUT_S = 5  # how long a write waits for SQLite's one writer
NETWORK_DISKS = {"nfs", "nfs4", "cifs", "smb2", "smbfs", "fuse.sshfs", "fuse.s3fs", "ceph", "glusterfs", "9p", "afs"}
DEADLOCK, DEADLOCK_TRIES = ("40P01", "40001"), 10  # PostgreSQL's codes; how often a transaction is tried
DAMAGED = ("file is not a database", "malformed", "disk image")  # as SQLite says it
DEFECTS = ("syntax error", "no such table", "no such column")  # SQLite calls these operational too


class _Deadlock(Exception):
    """Two transactions waited for each other, and this one was rolled back"""


@dataclass(frozen=True)
class _Write:
    """Work that waits for a transaction, and the future that waits for its answer."""

    work: Callable[[Connection], Any]
    answer: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop

    def answer_with(self, value: Any) -> None:
        self._later(lambda: self.answer.done() or self.answer.set_result(value))

    def fail(self, error: Exception) -> None:
        self._later(lambda: self.answer.done() or self.answer.set_exception(error))

    def _later(self, then: Callable[[], Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(then)


def _all(connection: Connection, group: Sequence[_Write]) -> list[Any]:
    return [write.work(connection) for write in group]


class Database:
    """A database by URL: `sqlite:////absolute/path` or `postgresql://user:password@host/name`.

    Raises:
        InvalidConfig: the URL cannot be used, or names an SQLite file on a network disk, which corrupts it.
    """

    def __init__(self, url: str, threads: int = 8) -> None:
        try:
            parsed = sqlalchemy.make_url(url)
        except ArgumentError:
            raise InvalidConfig("MEDLEY_DATABASE_URL is not a database URL.") from None
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._engine = _sqlite(parsed, threads)
            # One writer at a time is SQLite's own rule; waiting for it here, in order, is fairer than its busy loop.
            self._writers = ThreadPoolExecutor(1, "database-write")
        elif parsed.get_backend_name() == "postgresql":
            self._engine = sqlalchemy.create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_size=threads,
                max_overflow=4,
                pool_timeout=5,
                connect_args={
                    "connect_timeout": 3,
                    "prepare_threshold": 2,
                    # A process that is stopped inside a transaction must not hold its locks for long.
                    "options": f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_S * 1000}",
                },
            )
            self._writers = ThreadPoolExecutor(PARALLEL_WRITES, "database-write")
        else:
            raise InvalidConfig("MEDLEY_DATABASE_URL must begin with sqlite:/// or postgresql://.")
        self._waiting: deque[_Write] = deque()
        self._called = False
        self._readers = ThreadPoolExecutor(threads, "database-read")
        # Reads need no transaction, which would be two more round trips. (For SQLite, `_begin` sees to that.)
        mode = {"medley_reads": True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._reading = self._engine.execution_options(**mode)

    def __repr__(self) -> str:
        return f"Database({self._engine.url.render_as_string(hide_password=True)})"

    @property
    def psycopg_url(self) -> str:
        """PostgreSQL's URL in libpq's form, for a separate connection that listens."""
        return self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def read(self, work: "Work[P, T]", *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work(connection, ...)`, run in a thread.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        call = functools.partial(self._run, False, work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def write(self, work: "Work[P, T]", *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, run in a transaction that is committed when it returns, and rolled back if it raises.

        The transaction may be shared: if other work in it raises, `work` is rolled back and run again on its own.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def call(connection: Connection) -> T:
            return work(connection, *args, **kwargs)

        self._waiting.append(_Write(call, answer, loop))
        self._call_writer()
        return await answer

    async def write_apart(self, work: "Work[P, T]", *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, run in a transaction of its own: for work that holds a lock others wait for."""
        call = functools.partial(self._run, True, work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._writers, call)

    def read_here(self, work: "Work[P, T]", *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, as `read`, in the calling thread."""
        return self._run(False, work, *args, **kwargs)

    def write_here(self, work: "Work[P, T]", *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, as `write`, in the calling thread."""
        return self._run(True, work, *args, **kwargs)

    def watch_here(self, work: Callable[[Connection], None]) -> None:
        """Run `work` with a connection of its own outside any transaction, in the calling thread."""
        self._run(False, work)

    def _run(self, writes: bool, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        for attempt in range(DEADLOCK_TRIES):
            try:
                return self._once(writes, work, *args, **kwargs)
            except _Deadlock:  # PostgreSQL rolled it back so that another could proceed
                time.sleep(random.uniform(0, 0.02) * (attempt + 1))
        raise StorageUnavailable("The database does not answer: too many deadlocks.")

    def _once(self, writes: bool, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        try:
            if not writes:
                with self._reading.connect() as connection:
                    return work(connection, *args, **kwargs)
            with self._engine.begin() as connection:
                return work(connection, *args, **kwargs)
        except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
            if getattr(getattr(error, "orig", None), "sqlstate", None) in DEADLOCK:
                raise _Deadlock from error
            if any(defect in str(error) for defect in DEFECTS):
                raise
            raise StorageUnavailable(f"The database does not answer: {_reason(error)}") from error
        except ProgrammingError as error:
            if "closed" in str(error.orig):  # the connection was closed during the transaction
                raise StorageUnavailable("The database does not answer: the connection was closed.") from error
            raise
        except DBAPIError as error:
            if error.connection_invalidated:
                raise StorageUnavailable(f"The database does not answer: {_reason(error)}") from error
            raise

    def _call_writer(self) -> None:
        """Schedule a writer, unless a scheduled writer has not begun: that writer takes all waiting writes."""
        if not self._called:
            self._called = True
            self._writers.submit(self._write_some)

    def _write_some(self) -> None:
        """Run the waiting writes in one transaction."""
        self._called = False  # reset before taking writes: a later write schedules another writer
        group: list[_Write] = []
        with contextlib.suppress(IndexError):
            while len(group) < MAX_SHARED:
                group.append(self._waiting.popleft())
        if self._waiting:
            self._call_writer()
        if not group:
            return
        try:
            answers = self._once(True, _all, group)
        except Exception as error:
            alone = len(group) == 1 and not isinstance(error, _Deadlock)
            if alone or isinstance(error, StorageUnavailable):
                for write in group:
                    write.fail(error)
                return
            for write in group:  # one raised, or there was a deadlock: run each on its own
                try:
                    write.answer_with(self._run(True, write.work))
                except Exception as own_error:
                    write.fail(own_error)
        else:
            for write, answer in zip(group, answers, strict=True):
                write.answer_with(answer)

    def upgrade(self) -> None:
        """Upgrade the tables to this version; several processes may do so at once.

        Raises:
            StorageUnavailable: the database does not answer.
            InvalidConfig: SQLite's file is damaged, or was written by a newer Medley.
        """
        from .migrations.upgrade import NewerTables, upgrade

        try:
            self.write_here(upgrade)
        except NewerTables as error:
            raise InvalidConfig(f"{self!r} was written by a newer Medley ({error}). Use that version.") from None
        except DBAPIError as error:
            if self.is_sqlite and any(damage in str(error.orig) for damage in DAMAGED):
                raise InvalidConfig(
                    f"{self._engine.url.database} is damaged ({error.orig}). Put a backup in its place, or move it "
                    "away to start with an empty database."
                ) from None
            raise

    def dispose(self) -> None:
        """Close every connection."""
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._engine.dispose()


def _reason(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def _sqlite(url: sqlalchemy.URL, threads: int) -> sqlalchemy.Engine:
    path = Path(url.database or "")
    if not url.database or not path.is_absolute():
        raise InvalidConfig("MEDLEY_DATABASE_URL: SQLite needs an absolute path, sqlite:////path/to/medley.db.")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    disk = _disk_kind(path.parent)
    if disk in NETWORK_DISKS:
        raise InvalidConfig(f"{path} is on a network disk ({disk}), where SQLite loses data. Use PostgreSQL there.")
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    engine = sqlalchemy.create_engine(url, pool_size=threads + 2, max_overflow=4, pool_timeout=BUSY_TIMEOUT_S)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # turns the driver's transaction handling off; `_begin` below replaces it
        # SQLite's own `lower` knows ASCII only: a search for text would miss other letters in the other case.
        connection.create_function("lower", 1, _lower, deterministic=True)
        cursor = connection.cursor()
        # NORMAL in WAL mode: a killed process loses nothing. FULL adds an fsync to each commit, against power cuts.
        busy_timeout = f"busy_timeout={BUSY_TIMEOUT_S * 1000}"
        for setting in ("journal_mode=WAL", "synchronous=NORMAL", busy_timeout, "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if "medley_reads" not in connection.get_execution_options():
            # Take the write lock first: a transaction that reads before it writes may never get the lock.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _disk_kind(folder: Path) -> str:
    """The name of a folder's file system; empty if unknown."""
    try:
        command = ["stat", "--file-system", "--format=%T", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
