"""Webhook deliveries have slots of their own: slow receivers hold up neither runs nor each other."""

import asyncio
from collections import Counter
from typing import Any

from sqlalchemy import func, select

from serve_app.config.schema import JobsConfig
from serve_app.jobs import delivery_slots, next_jobs, queue, settlement
from serve_app.jobs.job import WEBHOOK
from serve_app.jobs.runner import Runner
from serve_app.storage import tables
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id
from serve_app.webhooks import endpoints
from serve_app.webhooks.endpoints import Queued

from .work import GRAPHS, Scribe, drain, models_of, runner_of, wish


async def due(database: Database, webhook: str, count: int) -> None:
    for number in range(count):
        await database.write(settlement.queue_delivery, Queued(f"{webhook} {number}", webhook))


class Receivers:
    """Deliveries that last until they are let go, and how many of each webhook there were at once."""

    def __init__(self, *slow: str) -> None:
        self.slow, self.go = slow, asyncio.Event()
        self.running, self.most, self.done = Counter[str](), Counter[str](), list[str]()

    async def deliver(self, delivery_id: str) -> None:
        webhook = delivery_id.split()[0]
        self.running[webhook] += 1
        self.most[webhook] = max(self.most[webhook], self.running[webhook])
        if webhook in self.slow:
            await self.go.wait()
        self.running[webhook] -= 1
        self.done.append(webhook)


def runner(database: Database, artifacts: Artifacts, receivers: Receivers) -> Runner:
    models, handlers = models_of(Scribe()), {WEBHOOK: receivers.deliver}
    return Runner(database, artifacts, GRAPHS, models, JobsConfig(), new_id("owner"), handlers)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # what is counted sets no event
            await asyncio.sleep(0.02)


async def test_slow_receivers_hold_up_no_run(database: Database, artifacts: Artifacts) -> None:
    receivers = Receivers("whk_a", "whk_b")
    for webhook in receivers.slow:
        await due(database, webhook, 30)
    worker = runner(database, artifacts, receivers)
    assert await drain(worker) == 0  # deliveries take none of the slots of runs
    await until(lambda: receivers.running.total() == 8)
    job, _ = await database.write(queue.create, wish())
    assert await drain(worker) == 1
    assert (await database.read(queue.find, "ann", job.id)).status == "succeeded"
    assert receivers.done == []
    await worker.stop()


async def test_a_slow_receiver_holds_up_only_its_own_deliveries(database: Database, artifacts: Artifacts) -> None:
    receivers = Receivers("whk_slow")
    await due(database, "whk_slow", 40)
    await due(database, "whk_quick", 10)
    worker = runner(database, artifacts, receivers)
    await drain(worker)
    await until(lambda: receivers.done.count("whk_quick") == 10)
    assert receivers.most["whk_slow"] == next_jobs.Terms().per_endpoint
    receivers.go.set()
    await until(lambda: receivers.done.count("whk_slow") == 40)
    assert receivers.most["whk_slow"] <= next_jobs.Terms().per_endpoint
    assert sum(receivers.most.values()) <= delivery_slots.SLOTS
    await worker.stop()


async def test_a_sweep_calls_one_worker_for_all_deliveries(database: Database, artifacts: Artifacts) -> None:
    await due(database, "whk_a", 30)
    assert await database.read(next_jobs.ready, next_jobs.Terms()) == 1
    await database.write(queue.create, wish())
    assert await database.read(next_jobs.ready, next_jobs.Terms()) == 2


async def test_an_event_for_many_webhooks_stores_its_body_once(database: Database, artifacts: Artifacts) -> None:
    for number in range(endpoints.MAX_ENDPOINTS):
        await database.write(endpoints.create, "ann", f"https://x.example/{number}", ())
    job, _ = await database.write(queue.create, wish(text="x" * 100_000))
    await drain(runner_of(database, artifacts, Scribe()))
    bodies = await database.read(lambda connection: connection.execute(select(tables.messages)).all())
    assert len(bodies) == 1 and job.id in bodies[0].body
    count = select(func.count()).select_from(tables.deliveries)
    assert await database.read(lambda connection: connection.execute(count).scalar_one()) == endpoints.MAX_ENDPOINTS
