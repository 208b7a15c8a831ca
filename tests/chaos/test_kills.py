"""Workers killed and stopped at every boundary of a job: nothing is done, kept or charged twice, nothing is lost."""

import asyncio
import json
import signal
from collections import Counter

import pytest
from sqlalchemy import Connection, select

from serve_app.storage import tables
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database
from tests.jobs.work import Scribe, drain, runner_of, wish

from .fleet import Fleet, Line, all_ended, books, create, everything, grant, now_s, steps_of, text_of, until
from .sizes import size
from .worker import PLACES

LEASE_S = 2.0
CONFIG = {"lease_s": LEASE_S, "per_user": 1000}
BOUNDARIES = [f"{moment} {place}" for place in PLACES for moment in ("before", "after")]


async def test_a_worker_killed_at_any_step_boundary_loses_nothing_and_does_nothing_twice(
    fleet: Fleet, database: Database, artifacts: Artifacts, kind: str
) -> None:
    texts = [f"kill {boundary}" for boundary in BOUNDARIES]
    unkilled = await _unkilled(database, artifacts, texts)
    await grant(database, "ann", 5 * len(texts) * size(1, 10))
    kills, waits, started = 0, [], now_s()
    for round in range(size(1, 10)):
        fleet.book.write_text("")
        await create(database, [wish(text=text, price=5) for text in texts])
        standing = [fleet.start(config=CONFIG) for _ in range(2)]

        def replace(standing=standing) -> None:
            for place, process in enumerate(standing):
                if not process.alive:
                    standing[place] = fleet.start(config=CONFIG)

        await all_ended(database, 40, replace)
        await until(lambda: len(fleet.lines("dies")) == len(texts), 5)  # one dies of the last commit of all
        for process in standing:
            process.send(signal.SIGKILL)
        lines = fleet.lines()
        kills += len([line for line in lines if line.what == "dies"])
        for text in texts:
            waits += _resumed(lines, text)
            _ran_as_often_as_it_must(lines, text)
        assert kills == len(texts) * (round + 1)
    found = await database.read(everything)
    killed = [job for job in found.values() if job.user_id == "ann"]
    assert len(killed) == len(texts) * size(1, 10)
    for job in killed:
        assert job.status == "succeeded" and job.output == unkilled[text_of(job)], job
    committed = await database.read(steps_of)
    assert all(len(committed[job.id]) == 3 for job in killed)
    account = await database.read(books)
    assert account.exact and account.captured == 5 * len(killed) and account.available == 0
    entries = await database.read(entries_of)
    assert all(entries[job.id] == ["capture", "reserve"] for job in killed)
    print(
        f"\n{kind}: {kills} kills at {len(BOUNDARIES)} boundaries, {len(killed)} jobs: 0 lost, 0 committed steps run "
        f"again, 0 charged twice; went on after {min(waits):.2f}-{max(waits):.2f} s of a lease of {LEASE_S:g} s "
        f"({now_s() - started:.0f} s)"
    )
    assert max(waits) <= LEASE_S + 1


async def _unkilled(database: Database, artifacts: Artifacts, texts: list[str]) -> dict[str, str | None]:
    await create(database, [wish(text=text, user="unkilled") for text in texts])
    await drain(runner_of(database, artifacts, Scribe()))
    return {text_of(job): job.output for job in (await database.read(everything)).values()}


def _resumed(lines: list[Line], text: str) -> list[float]:
    """Seconds from the kill to the next step's start elsewhere; none where no step was left to do."""
    died = next(line for line in lines if (line.what, line.text) == ("dies", text))
    after = [line for line in lines if line.at > died.at and line.what == "start" and line.text.startswith(text)]
    assert all(line.pid != died.pid for line in after)
    return [after[0].at - died.at] if after else []


def _ran_as_often_as_it_must(lines: list[Line], text: str) -> None:
    """Once each; only the step whose commit the kill undid ran again."""
    _, moment, place = text.split(" ", 2)
    starts = Counter(line.text for line in lines if line.what == "start")
    for number in (1, 2, 3):
        again = moment == "before" and place == f"step {number}"
        assert starts[f"{text} {number - 1}"] == 1 + again, (text, number, starts)
    again = [line for line in lines if (line.what, line.text) == ("committed finish", text)]
    assert len(again) == 1, (text, again)


async def test_a_result_that_was_committed_and_not_acknowledged_is_not_computed_again(
    fleet: Fleet, database: Database, kind: str
) -> None:
    text = "kill after finish"
    await grant(database, "ann", 9)
    await create(database, [wish(text=text, price=9)])
    first = fleet.start(config=CONFIG)
    await first.wait()
    before = await database.read(everything)
    others = [fleet.start(config=CONFIG) for _ in range(2)]
    await asyncio.sleep(LEASE_S + 0.5)
    assert all(process.alive for process in others)
    starts = fleet.lines("start")
    assert len(starts) == 3 and {line.pid for line in starts} == {first.pid}
    assert await database.read(everything) == before and next(iter(before.values())).status == "succeeded"
    account = await database.read(books)
    assert account.exact and account.captured == 9
    print(f"\n{kind}: 1 kill between commit and answer: 0 steps computed again, charged {account.captured} of 9")


async def test_a_worker_stopped_past_its_lease_is_refused_when_it_wakes_up(
    fleet: Fleet, database: Database, kind: str
) -> None:
    await grant(database, "ann", 7)
    new = wish(text="slow", price=7)
    await create(database, [new])
    config = {**CONFIG, "lease_s": 1}
    first = fleet.start(config=config, step_s=0.5, name=" BY THE FIRST")
    await until(lambda: fleet.lines("start", "slow 1"), 10)
    await asyncio.sleep(0.11)  # between two writes: a stopped process keeps its locks
    first.send(signal.SIGSTOP)
    stopped = now_s()
    second = fleet.start(config=config, step_s=0.05, name=" BY THE SECOND")
    await all_ended(database, 10)
    taken = next(line.at for line in fleet.lines("start", "slow 1") if line.pid == second.pid) - stopped
    before = await database.read(_all_of, new.id)
    first.send(signal.SIGCONT)
    await asyncio.sleep(1.5)  # it ends its step, or learns from its heartbeat that the job is another's
    assert await database.read(_all_of, new.id) == before
    assert not [line for line in fleet.lines() if line.pid == first.pid and line.what.startswith("committed finish")]
    job = (await database.read(everything))[new.id]
    assert json.loads(job.output or "")["said"] == [
        "SLOW 0 BY THE FIRST",
        "SLOW 1 BY THE SECOND",
        "SLOW 2 BY THE SECOND",
    ]
    second.send(signal.SIGKILL)
    await create(database, [wish(text="next")])
    await until(lambda: fleet.lines("committed finish", "next"), 10)  # told after the commit
    assert {line.pid for line in fleet.lines("committed finish", "next")} == {first.pid}
    account = await database.read(books)
    assert account.exact and account.captured == 7
    print(
        f"\n{kind}: stopped past a lease of 1 s, taken over after {taken:.2f} s; 0 of its writes after "
        f"waking were kept, charged {account.captured} of 7, and it runs the next job"
    )


async def test_a_worker_that_is_told_to_end_hands_its_job_over_at_once(
    fleet: Fleet, database: Database, kind: str
) -> None:
    text = "long"
    await create(database, [wish(text=text, steps=4)])
    config = {"lease_s": 60}
    first = fleet.start(config=config, step_s=1.0)  # longer than it takes to start the second one
    await until(lambda: fleet.lines("committed step 2", text), 10)
    second = fleet.start(config=config)
    await until(lambda: [line for line in fleet.lines("up") if line.pid == second.pid], 5)
    told = now_s()
    first.send(signal.SIGTERM)
    await first.wait()
    await all_ended(database, 10)
    handed = [line for line in fleet.lines("start") if line.pid == second.pid]
    assert [line.text for line in handed] == ["long 2", "long 3"]
    (job,) = (await database.read(everything)).values()
    assert job.status == "succeeded" and job.attempts == 1  # a worker that has to go is not a worker lost
    took = handed[0].at - told
    print(
        f"\n{kind}: handed over {took * 1000:.0f} ms after SIGTERM, with a lease of 60 s; 0 committed steps run again"
    )
    assert took < 2


async def test_a_worker_stopped_within_a_transaction_does_not_stop_the_others(
    fleet: Fleet, database: Database, kind: str
) -> None:
    if database.is_sqlite:
        pytest.skip("its one write lock is the process's own: nobody can take it away")
    await create(database, [wish(text="stop before claim"), wish(text="other")])
    first = fleet.start(config=CONFIG)
    await until(lambda: fleet.lines("dies"), 10)
    began = now_s()
    fleet.start(config=CONFIG)
    await all_ended(database, 30)
    took = now_s() - began
    first.send(signal.SIGCONT)
    await create(database, [wish(text="after")])
    await all_ended(database, 10)
    found = await database.read(everything)
    assert [job.status for job in found.values()] == ["succeeded"] * 3
    print(f"\n{kind}: stopped with the queue's lock in hand; the others went on after {took:.1f} s, 0 jobs lost")
    assert took < 15


def entries_of(connection: Connection) -> dict[str, list[str]]:
    """The kinds of each job's entries in the ledger."""
    found: dict[str, list[str]] = {}
    for row in connection.execute(select(tables.ledger.c.job_id, tables.ledger.c.kind)):
        found.setdefault(row.job_id, []).append(row.kind)
    return {job_id: sorted(kinds) for job_id, kinds in found.items()}


def _all_of(connection: Connection, job_id: str) -> list[object]:
    """Whatever the database has about a job."""
    asked = (
        select(tables.jobs).where(tables.jobs.c.id == job_id),
        select(tables.steps).where(tables.steps.c.job_id == job_id).order_by(tables.steps.c.name),
        select(tables.events).where(tables.events.c.job_id == job_id).order_by(tables.events.c.seq),
        select(tables.ledger).where(tables.ledger.c.job_id == job_id).order_by(tables.ledger.c.id),
        select(tables.artifacts).where(tables.artifacts.c.job_id == job_id).order_by(tables.artifacts.c.id),
    )
    return [connection.execute(one).all() for one in asked]
