"""Graphs and a runner for the tests: steps that count how often they ran, in a file that outlives a killed process."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from deployments.capabilities import Delta, Language, Message, Reply, TextToImage
from deployments.media import Image
from serve_app.config.schema import JobsConfig
from serve_app.graph import graph
from serve_app.jobs.job import NewJob
from serve_app.jobs.runner import Runner
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import Model, Models
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database
from serve_app.storage.tables import new_id
from tests.unit.fakes import picture_bytes


class Wish(BaseModel):
    text: str = "circle"
    steps: int = 3
    seed: int | None = None


class Painted(BaseModel):
    said: list[str] = []
    image: Image | None = None


@graph(title="Steps")
async def steps(request: Wish, writer: Language) -> Painted:
    said: list[str] = []
    for number in range(request.steps):
        reply = await writer.chat([Message(role="user", content=f"{request.text} {number}")], seed=request.seed)
        said.append(reply.text)
    return Painted(said=said)


@graph(title="Picture")
async def picture(request: Wish, writer: Language, painter: TextToImage) -> Painted:
    reply = await writer.chat([Message(role="user", content=request.text)], seed=request.seed)
    return Painted(said=[reply.text], image=await painter.generate(reply.text, seed=request.seed))


GRAPHS = {one.name: one for one in (steps, picture)}


class Scribe(Language, TextToImage):
    """Answers after a while, and writes down each call."""

    def __init__(self, log: Path | None = None, seconds: float = 0.0) -> None:
        self.log, self.seconds = log, seconds
        self.calls: list[str] = []
        self.fails: list[Exception] = []

    async def _called(self, what: str) -> None:
        if self.fails:
            raise self.fails.pop(0)
        await asyncio.sleep(self.seconds)
        self.calls.append(what)
        if self.log:
            with self.log.open("a") as file:
                file.write(what + "\n")

    async def chat(self, messages: list[Message], **options: Any) -> Reply:
        await self._called(messages[-1].text)
        return Reply(text=messages[-1].text.upper(), finish_reason="stop", prompt_tokens=1, completion_tokens=1)

    async def stream(self, messages: list[Message], **options: Any) -> AsyncIterator[Delta]:
        reply = await self.chat(messages)
        for letter in reply.text:
            yield Delta(text=letter)
        yield Delta(text="", finish_reason="stop", prompt_tokens=1, completion_tokens=1)

    async def generate(self, prompt: str, **options: Any) -> Image:
        await self._called(f"paint {prompt}")
        return Image(picture_bytes(), "image/png")


def models_of(scribe: Scribe) -> Models:
    return Models([Model("scribe", "fake", (Language, TextToImage), LocalHandle(scribe))])


def runner_of(database: Database, artifacts: Artifacts, scribe: Scribe, **config: Any) -> Runner:
    """A worker's runner in this process."""
    return Runner(database, artifacts, GRAPHS, models_of(scribe), JobsConfig(**config), new_id("owner"))


def wish(graph: str = "steps", user: str = "ann", key: str | None = None, **fields: Any) -> NewJob:
    options = {name: fields.pop(name) for name in ("priority", "price", "delay_s", "timeout_s") if name in fields}
    text = json.dumps(fields)
    return NewJob(
        new_id("job"), user, graph, text, idempotency_key=key, request_digest=text if key else None, **options
    )


async def drain(runner: Runner) -> int:
    """Run jobs until none is ready."""
    count = 0
    while claimed := await runner.claim():
        await runner.run(claimed)
        count += 1
    return count
