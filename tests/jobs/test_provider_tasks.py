"""A billed task of a provider is created once: a repeated call takes it up again, on another replica or worker."""

import asyncio
import json
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from sqlalchemy import select

from deployments.capabilities import TextToImage
from deployments.media import Image
from deployments.progress import following
from deployments.provider_tasks import TaskCreated, Tasks, calling, digest_of, tasks_of_call
from serve_app.config.schema import JobsConfig
from serve_app.jobs import queue
from serve_app.jobs.runner import Runner
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import Model, Models
from serve_app.storage import tables
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id
from tests.unit.runs import Calls

from .work import GRAPHS, Scribe, picture_bytes, wish


class Provider:
    """A provider that bills each task it creates, and does it while `doing` is set."""

    def __init__(self) -> None:
        self.billed: list[str] = []
        self.doing = asyncio.Event()

    def create(self) -> str:
        self.billed.append(f"task-{len(self.billed)}")
        return self.billed[-1]


class Painter(TextToImage):
    """A painter whose pictures a provider paints; a replica dies at each of the first `deaths` calls."""

    def __init__(self, provider: Provider, deaths: int = 0) -> None:
        self.provider, self.deaths = provider, deaths
        self.painted: list[str] = []

    async def generate(self, prompt: str, **options: Any) -> Image:
        tasks, request = tasks_of_call(), digest_of(prompt)
        task = tasks.take_up(request)
        if task is None:
            task = self.provider.create()
            tasks.created(request, task)
        if self.deaths:
            self.deaths -= 1
            await asyncio.sleep(0.05)
            raise ActorDiedError
        await self.provider.doing.wait()
        self.painted.append(task)
        return Image(picture_bytes(), "image/png")


def models(painter: Painter) -> Models:
    scribe = Model("scribe", "fake", (Scribe.__mro__[1],), LocalHandle(Scribe()))
    return Models([scribe, Model("painter", "fake", (TextToImage,), LocalHandle(painter), tells_progress=True)])


def runner(database: Database, artifacts: Artifacts, painter: Painter) -> Runner:
    return Runner(database, artifacts, GRAPHS, models(painter), JobsConfig(lease_s=1), new_id("owner"))


async def test_a_call_tells_its_tasks_before_its_answer() -> None:
    async def call() -> str:
        tasks_of_call().created("request", "task-1")
        return "answer"

    assert [item async for item in following(call())] == [TaskCreated("request:task-1"), "answer"]
    taken = Tasks(["request:task-1", "request:task-2", "other:task-3"])
    with calling(taken):
        assert [tasks_of_call().take_up("request") for _ in range(3)] == ["task-1", "task-2", None]


async def test_a_lost_replica_s_task_is_taken_up_by_the_next() -> None:
    provider = Provider()
    provider.doing.set()
    painter = Painter(provider, deaths=2)
    await Calls(models(painter)).model("painter", TextToImage).generate("a boat")
    assert provider.billed == painter.painted == ["task-0"]


async def test_a_job_that_is_handed_over_takes_its_task_up_again(database: Database, artifacts: Artifacts) -> None:
    provider = Provider()
    job, _ = await database.write(queue.create, wish("picture", text="a boat"))
    first = runner(database, artifacts, Painter(provider))
    claimed = await first.claim()
    assert claimed
    running = asyncio.create_task(first.run(claimed))
    query = select(tables.provider_tasks.c.task, tables.provider_tasks.c.model)
    async with asyncio.timeout(20):
        while not (kept := await database.read(lambda connection: connection.execute(query).all())):
            await asyncio.sleep(0.02)
    assert kept[0].model == "painter" and kept[0].task.endswith(":task-0")
    await first.stop()
    await running
    provider.doing.set()
    painter = Painter(provider)
    second = runner(database, artifacts, painter)
    claimed = await second.claim()
    assert claimed and claimed.tasks
    await second.run(claimed)
    found = await database.read(queue.find, "ann", job.id)
    assert found.status == "succeeded", found.error
    assert json.loads(found.output or "")["image"]
    assert provider.billed == painter.painted == ["task-0"]
    await second.stop()


@pytest.mark.parametrize("same", [True, False])
async def test_a_task_is_taken_up_only_for_the_same_request(same: bool) -> None:
    provider = Provider()
    provider.doing.set()
    painter = Painter(provider)
    earlier = f"{digest_of('a boat')}:task-9"
    call = painter.generate("a boat" if same else "a car")
    items = [item async for item in following(call, [earlier])]
    assert painter.painted == (["task-9"] if same else ["task-0"])
    assert provider.billed == ([] if same else ["task-0"])
    assert isinstance(items[-1], Image)
