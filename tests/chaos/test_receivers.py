"""A webhook's receiver that is down blocks no job and no cancel."""

import asyncio
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from serve_app.jobs import queue
from serve_app.provisioning.ray_environment import free_ports
from serve_app.storage.database import Database
from serve_app.storage.tables import deliveries, delivery_attempts
from tests.jobs.work import wish

from .fleet import Fleet, create, everything, now_s, until


async def test_a_receiver_that_is_down_delays_no_job_and_no_cancel(fleet: Fleet, database: Database, kind: str) -> None:
    port = free_ports(1).start  # nobody listens there
    url = f"http://127.0.0.1:{port}/hook"
    told = [replace(wish(text=f"told {number}"), webhook_url=url) for number in range(10)]
    await create(database, told)
    fleet.start(config={"private_webhooks": [f"127.0.0.1:{port}"]}, slots=4)
    began = now_s()
    await until(lambda: _succeeded(database, [job.id for job in told]), 15)
    took = now_s() - began
    long = replace(wish(text="long", steps=500), webhook_url=url)
    await create(database, [long])
    await until(lambda: fleet.lines("start", "long 1"), 10)
    asked = now_s()
    await database.write(queue.cancel, "ann", long.id, 60.0)

    async def cancelled() -> bool:
        return (await database.read(everything))[long.id].status == "cancelled"

    await until(cancelled, 10)
    stopped = now_s() - asked
    await until(lambda: _tried(database, 10), 15)
    rows = await database.read(_pending)
    assert len(rows) == 11 and all(row.status == "pending" for row in rows)  # the cancelled job's own is the eleventh
    assert all(row.next_at > row.created_at + 4 for row in rows if row.attempts)
    print(f"\n{kind}: receiver down: 10 jobs done in {took:.1f} s, a cancel in {stopped:.1f} s, 11 deliveries wait")
    assert stopped < 2.5


async def _succeeded(database: Database, ids: list[str]) -> bool:
    found = await database.read(everything)
    return all(found[id].status == "succeeded" for id in ids)


async def _tried(database: Database, count: int) -> bool:
    await asyncio.sleep(0.1)
    tried = await database.read(lambda connection: connection.execute(select(delivery_attempts)).all())
    return len(tried) >= count and all(attempt.error for attempt in tried)


def _pending(connection: Connection) -> list[Any]:
    return list(connection.execute(select(deliveries)).all())
