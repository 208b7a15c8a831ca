"""Part `jobs`: durable jobs on SQLite and on PostgreSQL, beside DBOS with the same work, two worker processes each."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
from sqlalchemy import func, insert, select

from serve_app.jobs import lease, next_jobs, queue, rows
from serve_app.jobs.job import NewJob
from serve_app.provisioning.ray_environment import free_ports
from serve_app.storage import tables
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id
from tests.jobs.databases import fresh, postgresql

from .report import Row, at_least, at_most, console, info, save

ROUNDS, JOBS, STEPS, BACKLOG, USERS, CLIENTS = 3, 1_500, 300, 100_000, 1_000, 200
LEASE_S = 5.0
CREATORS = 16
JOBS_FOLLOWED, FOLLOWED_WITHIN_S = 20, 4.0  # by the clients, before the jobs may begin
TIMEOUT_S = 120  # for all jobs of a round to end


def run(quick: bool = False) -> list[Row]:
    rows: list[Row] = []
    rounds, jobs, steps, backlog, clients = (1, 40, 30, 5_000, 20) if quick else (ROUNDS, JOBS, STEPS, BACKLOG, CLIENTS)
    with postgresql() as server, tempfile.TemporaryDirectory() as folder:

        def place(kind: str) -> str:
            return fresh(server) if kind == "PostgreSQL" else f"sqlite:///{folder}/{new_id('db')}.db"

        for kind in ("SQLite", "PostgreSQL"):
            rates: dict[str, list[float]] = {"medley": [], "dbos": []}
            costs: dict[str, list[float]] = {"medley": [], "dbos": []}
            for number in range(rounds):
                rates["medley"].append(medley_rate(place(kind), folder, jobs))
                rates["dbos"].append(dbos_rate(place(kind), jobs))
                costs["medley"].append(medley_step_ms(place(kind), folder, steps))
                costs["dbos"].append(dbos_step_ms(place(kind), steps))
                console.print(f"{kind}, round {number + 1} of {rounds}", style="dim")
            for figure, unit, measured in (("trivial jobs", "jobs/s", rates), ("a checkpointed step", "ms", costs)):
                for name, values in measured.items():
                    spread = (max(values) - min(values)) / statistics.median(values) * 100
                    label = f"{kind}: {figure}, {name}, median of {rounds} (spread {spread:.0f} %)"
                    rows.append(info(label, statistics.median(values), unit))
            rate, cost = ({name: statistics.median(v) for name, v in values.items()} for values in (rates, costs))
            rows.append(at_least(f"{kind}: trivial jobs, medley / dbos", rate["medley"] / rate["dbos"], 1.5))
            rows.append(
                at_most(f"{kind}: checkpointed step, medley / dbos", cost["medley"] / cost["dbos"], 0.5, "ratio")
            )
            killed = statistics.median(resumed_after(place(kind), folder, signal.SIGKILL) for _ in range(rounds))
            stopped = statistics.median(resumed_after(place(kind), folder, signal.SIGTERM) for _ in range(rounds))
            rows.append(at_most(f"{kind}: killed worker's job goes on after", killed, LEASE_S + 1, "s"))
            rows.append(at_most(f"{kind}: gracefully stopped worker's job goes on after", stopped, 0.5, "s"))
            late = event_ms(place(kind), folder, clients)
            rows.append(
                info(f"{kind}: {clients} SSE clients, event after its commit, median", late[len(late) // 2], "ms")
            )
            rows.append(at_most(f"{kind}: {clients} SSE clients, event after its commit, last", late[-1], 250, "ms"))
            # Last, because PostgreSQL writes the long queue to disk for a while, and commits wait for it.
            rows.append(
                at_most(f"{kind}: claim among {backlog:,} queued jobs", claim_ms(place(kind), backlog), 20, "ms")
            )
    save("jobs", rows)
    return rows


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python module in a process that prints `ready` and its name; it ends with the block."""
    command = [sys.executable, "-m", *arguments]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert running.stdout
        words = running.stdout.readline().split()
        assert words[:1] == ["ready"], f"{arguments[0]} did not start"
        yield running, words[-1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGCONT)
        running.kill()
        running.wait()


def opened(url: str) -> Database:
    database = Database(url)
    database.upgrade()
    return database


def job(user: str = "bench", **fields: object) -> NewJob:
    return NewJob(new_id("job"), user, "trivial", json.dumps(fields))


def medley_rate(url: str, folder: str, count: int) -> float:
    """Jobs per second, from the creation of the first to the end of the last."""
    database = opened(url)
    jobs = tables.jobs
    ended = select(func.count()).where(jobs.c.status == "succeeded", jobs.c.kind == "graph")
    with process("bench.job_worker", "work", url, folder), process("bench.job_worker", "work", url, folder):
        began = time.perf_counter()
        asyncio.run(at_once(count, lambda: database.write(queue.create, job())))
        while database.read_here(lambda connection: connection.execute(ended).scalar()) != count:
            assert time.perf_counter() - began < TIMEOUT_S, "the jobs do not end"
            time.sleep(0.02)
        seconds = time.perf_counter() - began
    database.dispose()
    return count / seconds


async def at_once(count: int, create: Callable[[], Awaitable[object]]) -> None:
    """Create jobs, `CREATORS` at once."""

    async def some(number: int) -> None:
        for _ in range(number, count, CREATORS):
            await create()

    await asyncio.gather(*(some(number) for number in range(CREATORS)))


def dbos_rate(url: str, count: int) -> float:
    from dbos import DBOSClient

    with process("bench.dbos_worker", "work", url, "1"), process("bench.dbos_worker", "work", url, "2"):
        client = DBOSClient(system_database_url=url)
        began = time.perf_counter()
        options = {"queue_name": "work", "workflow_name": "trivial", "app_version": "1"}
        asyncio.run(at_once(count, lambda: client.enqueue_async(options, 0)))  # type: ignore[arg-type]
        while client.list_workflows(status=["ENQUEUED", "PENDING"], limit=1, load_input=False, load_output=False):
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        assert len(client.list_workflows(status="SUCCESS", load_input=False, load_output=False)) == count
        client.destroy()
    return count / seconds


def medley_step_ms(url: str, folder: str, count: int) -> float:
    from .job_worker import open_runner

    async def measured() -> float:
        runner = open_runner(url, folder)
        for steps in (5, count):
            await runner.database.write(queue.create, job(steps=steps))
            claimed = await runner.claim()
            assert claimed
            began = time.perf_counter()
            await runner.run(claimed)
        seconds = time.perf_counter() - began
        done = await runner.database.read(rows.step_records, claimed.job.id)
        assert len(done) == count
        await runner.stop()
        runner.database.dispose()
        return seconds / count * 1000

    return asyncio.run(measured())


def dbos_step_ms(url: str, count: int) -> float:
    command = [sys.executable, "-m", "bench.dbos_worker", "steps", url, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1]) * 1000


def resumed_after(url: str, folder: str, how: signal.Signals) -> float:
    """Seconds from the end of a worker in the middle of step 2 until step 2 begins on another worker."""
    database = opened(url)
    log = Path(folder) / new_id("log")
    work = ("bench.job_worker", "work", url, folder)
    with process(*work) as (first, name), process(*work) as (second, _):
        created, _ = database.write_here(queue.create, job(steps=3, seconds=1.0, log=str(log)))
        while len(database.read_here(rows.step_records, created.id)) < 1:
            time.sleep(0.01)
        time.sleep(0.3)
        owner = database.read_here(queue.find, "bench", created.id).owner
        at = time.time()
        (first if owner == name else second).send_signal(how)
        while not database.read_here(queue.find, "bench", created.id).ended:
            time.sleep(0.05)
    starts = [line.split() for line in log.read_text().splitlines()]
    assert [number for number, _ in starts] == ["0", "1", "1", "2"], starts  # the finished step is not done again
    database.dispose()
    return float(starts[2][1]) - at


def claim_ms(url: str, count: int) -> float:
    """The median of 50 claims (the search for a candidate and the claim) in a long queue of many users."""
    database = opened(url)
    new = vars(job())
    row = {name: new[name] for name in ("kind", "graph", "input", "timeout_s", "price")}
    row |= {"status": "queued", "rank": 0, "run_at": 0.0, "created_at": 0.0, "submission": 1, "attempts": 0, "fence": 0}
    row |= {"cancel_requested": False}
    rows = [{**row, "id": new_id("job"), "user_id": f"user-{number % USERS}"} for number in range(count)]
    database.write_here(lambda connection: connection.execute(insert(tables.jobs), rows))
    terms, times = next_jobs.Terms(per_user=2), list[float]()
    for _ in range(50):
        began = time.perf_counter()
        assert database.read_here(next_jobs.candidates, terms) and database.write_here(lease.claim, "bench", terms)
        times.append((time.perf_counter() - began) * 1000)
    database.dispose()
    return statistics.median(times)


def event_ms(url: str, folder: str, clients: int) -> list[float]:
    """How long after its commit each event reached each client, sorted."""
    port, key = free_ports(1).start, secrets.token_urlsafe(16)
    database = opened(url)
    command = [sys.executable, "-m", "bench.job_worker", "serve", url, folder, str(port), key]
    gateway = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        with process("bench.job_worker", "work", url, folder):
            # A process's first job pays for what it loads and compiles.
            warm, _ = database.write_here(queue.create, job("local", steps=5))
            while not database.read_here(queue.find, "local", warm.id).ended:
                time.sleep(0.05)
            headers = {"authorization": f"Bearer {key}"}
            for _ in range(200):
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"http://127.0.0.1:{port}/api/v1/jobs", headers=headers).status_code == 200:
                        break
                time.sleep(0.1)
            later = replace(job("local", steps=5, seconds=0.5), delay_s=FOLLOWED_WITHIN_S)
            new = [replace(later, id=new_id("job")) for _ in range(JOBS_FOLLOWED)]
            ids = [database.write_here(queue.create, new_job)[0].id for new_job in new]
            arrived = asyncio.run(followed(port, key, [ids[number % JOBS_FOLLOWED] for number in range(clients)]))
        query = select(tables.events.c.job_id, tables.events.c.seq, tables.events.c.created_at)
        rows = database.read_here(lambda connection: connection.execute(query).all())
        committed = {(row.job_id, row.seq): row.created_at for row in rows}
        # The first event of each job was committed before a client followed.
        late = sorted((at - committed[job_id, seq]) * 1000 for job_id, seq, at in arrived if seq > 1)
        assert len(late) > clients * 10
        return late
    finally:
        gateway.terminate()
        gateway.wait()
        database.dispose()


async def followed(port: int, key: str, job_ids: list[str]) -> list[tuple[str, int, float]]:
    """Follow each job until it ends; returns job, number and time of each event that arrived.

    It uses bare sockets: the clients share this process, and the time of an HTTP library would be measured too.
    """
    arrived: list[tuple[str, int, float]] = []

    async def follow(job_id: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"GET /api/v1/jobs/{job_id}/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        writer.write(f"{request}authorization: Bearer {key}\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        while line := await reader.readline():
            if line.startswith(b"id: "):
                arrived.append((job_id, int(line[4:]), time.time()))
        writer.close()

    async with asyncio.timeout(60):
        await asyncio.gather(*(follow(job_id) for job_id in job_ids))
    return arrived
