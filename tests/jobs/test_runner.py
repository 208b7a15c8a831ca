"""A runner sees jobs through: steps are kept, a later owner goes on after the last one."""

import asyncio
import json
import random
from typing import Any

import pytest
from sqlalchemy import select, update

from deployments.errors import InvalidInput, ModelUnavailable
from serve_app.accounts import ledger
from serve_app.errors import StorageUnavailable
from serve_app.jobs import lease, next_jobs, queue, rows
from serve_app.jobs.job import Job
from serve_app.storage import tables
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database

from .work import Scribe, drain, runner_of, wish


async def found(database: Database, job_id: str, user: str = "ann") -> Job:
    return await database.read(queue.find, user, job_id)


async def kinds(database: Database, job_id: str) -> list[tuple[str, Any]]:
    query = select(tables.events).where(tables.events.c.job_id == job_id).order_by(tables.events.c.seq)
    rows = await database.read(lambda connection: connection.execute(query).all())
    assert [row.seq for row in rows] == sorted({row.seq for row in rows})
    return [(row.kind, json.loads(row.data)) for row in rows]


async def test_a_job_runs_its_steps_and_keeps_what_they_made(database: Database, artifacts: Artifacts) -> None:
    job, made = await database.write(queue.create, wish("picture", text="a red circle"))
    assert made and job.status == "queued"
    scribe = Scribe()
    assert await drain(runner_of(database, artifacts, scribe)) == 1
    job = await found(database, job.id)
    assert job.status == "succeeded", job.error
    output = json.loads(job.output or "")
    assert output["said"] == ["A RED CIRCLE"]
    artifact, data = await artifacts.load("ann", output["image"])
    assert artifact.folder == "outputs" and data.startswith(b"\x89PNG")
    records = await database.read(rows.step_records, job.id)
    assert [record.name for record in records] == ["writer.chat", "painter.generate"]
    states = [data["status"] for kind, data in await kinds(database, job.id) if kind == "state"]
    assert states == ["queued", "running", "succeeded"]


async def test_a_second_owner_goes_on_after_the_last_finished_step(database: Database, artifacts: Artifacts) -> None:
    job, _ = await database.write(queue.create, wish(steps=4))
    slow = Scribe(seconds=0.15)
    first = runner_of(database, artifacts, slow, lease_s=1)
    claimed = await first.claim()
    assert claimed
    running = asyncio.create_task(first.run(claimed))
    while len(await database.read(rows.step_records, job.id)) < 2:
        await asyncio.sleep(0.02)
    await first.stop()
    await running
    assert (await found(database, job.id)).status == "queued"
    quick = Scribe()
    assert await drain(runner_of(database, artifacts, quick)) == 1
    assert (await found(database, job.id)).status == "succeeded"
    assert sorted(slow.calls + quick.calls) == [f"circle {number}" for number in range(4)]


async def test_a_stale_owner_is_refused(database: Database, artifacts: Artifacts) -> None:
    job, _ = await database.write(queue.create, wish(steps=2))
    first = runner_of(database, artifacts, Scribe(), lease_s=0.5)
    claimed = await first.claim()
    assert claimed
    await asyncio.sleep(0.7)
    scribe = Scribe()
    assert await drain(runner_of(database, artifacts, scribe)) == 1
    assert scribe.calls == ["circle 0", "circle 1"]
    await first.run(claimed)  # it wakes up, and finds that the job is no longer its own
    with pytest.raises(lease.LeaseLost):
        await database.write(lease.note, claimed.held, [])
    assert (await found(database, job.id)).attempts == 2


async def test_a_running_job_is_cancelled_and_an_ended_one_stays(database: Database, artifacts: Artifacts) -> None:
    job, _ = await database.write(queue.create, wish())
    runner = runner_of(database, artifacts, Scribe(seconds=60), lease_s=1)
    claimed = await runner.claim()
    assert claimed
    running = asyncio.create_task(runner.run(claimed))
    await asyncio.sleep(0.1)
    await database.write(queue.cancel, "ann", job.id, 60.0)
    async with asyncio.timeout(2):
        await running
    assert (await found(database, job.id)).status == "cancelled"
    assert (await database.write(queue.cancel, "ann", job.id, 60.0)).status == "cancelled"


async def test_a_job_whose_model_is_away_is_tried_again_and_one_with_bad_input_is_not(
    database: Database, artifacts: Artifacts
) -> None:
    away, _ = await database.write(queue.create, wish(text="a"))
    bad, _ = await database.write(queue.create, wish(text="b"))
    scribe = Scribe()
    scribe.fails = [ModelUnavailable("starting"), InvalidInput("text", "is rude")]
    runner = runner_of(database, artifacts, scribe)
    await drain(runner)
    assert (await found(database, bad.id)).status == "failed"
    error = json.loads((await found(database, bad.id)).error or "")
    assert (error["status"], error["errors"][0]["field"]) == (422, "text")
    waiting = await found(database, away.id)
    assert waiting.status == "queued" and waiting.run_at > waiting.created_at + 1
    await database.write(lambda c: c.execute(update(tables.jobs).values(run_at=0.0)))
    await drain(runner)
    assert (await found(database, away.id)).status == "succeeded"


async def test_jobs_that_can_be_claimed_are_counted_and_those_over_a_users_limit_are_not(database: Database) -> None:
    terms = next_jobs.Terms(per_user=1)
    assert await database.read(next_jobs.ready, terms) == 0
    for _ in range(3):
        await database.write(queue.create, wish())
    assert await database.read(next_jobs.ready, terms) == 3
    assert await database.write(lease.claim, "me", terms)
    assert await database.write(lease.claim, "you", terms) == []
    assert await database.read(next_jobs.ready, terms) == 0
    await database.write(queue.create, wish(user="bob"))
    assert await database.read(next_jobs.ready, terms) == 3
    await database.write(lambda c: c.execute(update(tables.jobs).values(lease_until=0.0)))
    assert await database.read(next_jobs.ready, terms) == 4


async def test_many_priced_jobs_of_many_users_through_two_gateways_meet_no_deadlock(url: str) -> None:
    gateways = [Database(url), Database(url)]
    gateways[0].upgrade()
    users = [f"user-{number}" for number in range(6)]
    for user in users:
        await gateways[0].write(ledger.grant, user, 100)
    orders = [random.sample(users, len(users)) for _ in range(20)]
    wanted = [(gateways[turn % 2], user) for turn, order in enumerate(orders) for user in order]
    made = await asyncio.gather(*(gateway.write(queue.create, wish(user=user, price=2)) for gateway, user in wanted))
    assert all(new for _, new in made)
    left = [await gateways[0].read(ledger.balance, user) for user in users]
    assert left == [100 - 2 * len(orders)] * len(users)
    for gateway in gateways:
        gateway.dispose()


async def test_a_claim_that_cannot_be_given_back_does_not_end_all_claims(
    database: Database, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.write(queue.create, wish())
    runner = runner_of(database, artifacts, Scribe(), lease_s=0.5)
    plain = database.write

    async def away(work: Any, *args: Any, **kwargs: Any) -> Any:
        if work is lease.requeue:
            raise StorageUnavailable("away")
        return await plain(work, *args, **kwargs)

    monkeypatch.setattr(database, "write", away)
    gone = asyncio.create_task(runner.claim())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0.8)
    async with asyncio.timeout(5):
        assert await drain(runner) == 1


async def test_a_job_that_a_claim_ends_goes_with_the_others_some_day(database: Database, artifacts: Artifacts) -> None:
    job, _ = await database.write(queue.create, wish())
    (claimed,) = await database.write(lease.claim, "me", next_jobs.Terms())
    await database.write(queue.cancel, "ann", job.id, 60.0)
    await database.write(lease.requeue, claimed.held, 0.0)
    assert await drain(runner_of(database, artifacts, Scribe())) == 0
    ended = await found(database, job.id)
    assert ended.status == "cancelled" and ended.expires_at is not None
