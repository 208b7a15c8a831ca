"""Worker processes of a test, what they wrote down, and the books of the database they worked on."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from serve_app.accounts import ledger as credits
from serve_app.jobs import queue, rows
from serve_app.jobs.job import Job, NewJob
from serve_app.storage.database import Database
from serve_app.storage.tables import balances, jobs, ledger, steps

ROOT = Path(__file__).parents[2]


class Nursery:
    """The process that forks the others; see `worker`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._asking = threading.Lock()

    def ask(self, order: dict[str, Any]) -> int:
        process = self._process
        assert process.stdin and process.stdout
        with self._asking:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


@dataclass
class Process:
    """A child of the nursery."""

    nursery: Nursery
    pid: int
    gone: bool = False

    @property
    def alive(self) -> bool:
        self.gone = self.gone or not self.nursery.ask({"alive": self.pid})
        return not self.gone

    def send(self, number: int) -> None:
        if not self.gone:  # until the nursery is asked, the id is this process's
            os.kill(self.pid, number)

    async def wait(self, seconds: float = 30) -> None:
        await until(lambda: not self.alive, seconds)


@dataclass(frozen=True)
class Line:
    """Something a worker did; `at` is the machine's monotonic clock, the same for all processes."""

    at: float
    pid: int
    what: str
    text: str


class Fleet:
    """The processes of one test on one database."""

    def __init__(self, nursery: Nursery, url: str, folder: Path) -> None:
        self.nursery, self.url, self.folder = nursery, url, folder
        self.book = folder / "book"
        self.book.touch()
        self._errors = folder / "errors"
        self.processes: list[Process] = []

    def start(self, work: str = "work", **options: Any) -> Process:
        """A worker, unless `work` says something else."""
        if work == "work":
            options |= {"log": str(self.book), "folder": str(self.folder / "artifacts")}
        order = {"work": work, "url": self.url, "errors": str(self._errors), **options}
        process = Process(self.nursery, self.nursery.ask({"start": order}))
        self.processes.append(process)
        return process

    def lines(self, what: str | None = None, text: str | None = None) -> list[Line]:
        found = [Line(**json.loads(line)) for line in self.book.read_text().splitlines()]
        return [line for line in found if what in (None, line.what) and text in (None, line.text)]

    def kill_all(self) -> None:
        for process in self.processes:
            if process.alive:
                process.send(signal.SIGKILL)

    def defects(self) -> str:
        """What no worker may ever say: a job left because of an error that nobody foresaw."""
        errors = self._errors.read_text() if self._errors.exists() else ""
        return errors if "running it failed" in errors or "Traceback" in errors else ""


async def until(condition: Callable[[], Any], seconds: float, every: float = 0.02) -> None:
    """Wait until it holds.

    Raises:
        TimeoutError: it did not in time.
    """
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return
            await asyncio.sleep(every)


async def all_ended(database: Database, seconds: float, meanwhile: Callable[[], Any] = lambda: None) -> None:
    """Wait until no job waits or runs."""

    def left(connection: Connection) -> int:
        waits = jobs.c.status.in_(("queued", "running"))
        return connection.execute(select(func.count()).select_from(jobs).where(waits)).scalar_one()

    async def ended() -> bool:
        meanwhile()
        with contextlib.suppress(Exception):  # the database may be away just now
            return await database.read(left) == 0
        return False

    await until(ended, seconds, 0.05)


async def create(database: Database, news: Sequence[NewJob]) -> None:
    for new in news:
        await database.write(queue.create, new)


def everything(connection: Connection) -> dict[str, Job]:
    """Every job by its id."""
    return {row.id: rows.job_of(row) for row in connection.execute(select(jobs))}


def text_of(job: Job) -> str:
    return json.loads(job.input)["text"]


def steps_of(connection: Connection) -> dict[str, list[str]]:
    """The names of each job's committed steps."""
    found: dict[str, list[str]] = {}
    for row in connection.execute(select(steps.c.job_id, steps.c.name)):
        found.setdefault(row.job_id, []).append(row.name)
    return found


@dataclass(frozen=True)
class Books:
    """Credits over all users; `charged_twice` are submissions with more than one entry of a kind."""

    granted: int
    available: int
    reserved: int
    captured: int
    refunded: int
    charged_twice: int

    @property
    def exact(self) -> bool:
        outstanding = self.reserved - self.captured - self.refunded
        return self.charged_twice == 0 and self.available + outstanding + self.captured == self.granted


def books(connection: Connection) -> Books:
    sums = {
        row.kind: int(row.total)
        for row in connection.execute(select(ledger.c.kind, func.sum(ledger.c.amount).label("total")).group_by("kind"))
    }
    entry = (ledger.c.job_id, ledger.c.submission, ledger.c.kind)
    twice = select(*entry).where(ledger.c.job_id.is_not(None)).group_by(*entry).having(func.count() > 1)
    return Books(
        granted=sums.get("grant", 0),
        available=int(connection.execute(select(func.sum(balances.c.available))).scalar() or 0),
        reserved=sums.get("reserve", 0),
        captured=sums.get("capture", 0),
        refunded=sums.get("refund", 0),
        charged_twice=len(connection.execute(twice).all()),
    )


async def grant(database: Database, user: str, amount: int) -> None:
    await database.write(credits.grant, user, amount)


def now_s() -> float:
    """The clock of the workers' lines."""
    return time.monotonic()
