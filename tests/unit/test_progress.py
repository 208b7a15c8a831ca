"""How far a call is, as those learn it who follow it."""

import asyncio
import threading
from typing import Any

import pytest

from deployments.capabilities import TextToImage
from deployments.errors import OutOfMemory
from deployments.progress import Progress, following, teller
from serve_app.models.registry import Model, Models
from serve_app.steps import Step

from .fakes import PICTURE, Never, ScriptedHandle
from .runs import Calls

pytestmark = pytest.mark.asyncio


async def count(steps: int, pause_s: float = 0.0) -> str:
    """Work in a thread that tells each of its steps."""
    tell = teller()

    def work() -> str:
        for step in range(steps):
            threading.Event().wait(pause_s)
            tell((step + 1) / steps)
        return "done"

    return await asyncio.to_thread(work)


async def test_the_answer_is_last_and_what_is_told_before_it_only_rises() -> None:
    items = [item async for item in following(count(8, pause_s=0.2))]
    assert items[-1] == "done"
    told = [item.fraction for item in items[:-1]]
    assert told == sorted(told)
    assert 2 <= len(told) < 8  # those in between are not worth a message


async def test_a_call_that_tells_nothing_is_its_answer_alone() -> None:
    assert [item async for item in following(count(0))] == ["done"]


async def test_nobody_needs_to_follow() -> None:
    assert await count(3) == "done"


async def test_what_the_call_raises_comes_through() -> None:
    async def full() -> None:
        raise OutOfMemory("full")

    with pytest.raises(OutOfMemory):
        _ = [item async for item in following(full())]


async def test_who_stops_following_ends_the_call() -> None:
    ended = asyncio.Event()

    async def forever() -> None:
        teller()(0.5)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    items = following(forever())
    assert await anext(items) == Progress(0.5)
    await items.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(ended.wait(), 1)


def painter(*outcomes: Any) -> Model:
    return Model("painter", "fake", (TextToImage,), ScriptedHandle(*outcomes), tells_progress=True)


async def test_a_step_tells_how_far_its_model_is() -> None:
    told = list[float | None]()

    def note(step: Step) -> None:
        told.append(step.fraction)

    model = painter([Progress(0.25), Progress(0.75), PICTURE])
    run = Calls(Models([model]), on_step=note)
    assert await run.model("painter", TextToImage).generate("a circle", seed=1) == PICTURE
    assert told == [None, 0.25, 0.75, 0.75]
    assert model.handle.calls == [(("generate", (), "a circle"), {"seed": 1})]


async def test_the_next_model_is_asked_when_one_fails_on_its_way() -> None:
    models = Models([painter([Progress(0.5), OutOfMemory("full")]), painter([PICTURE])])
    run = Calls(models)
    assert await run.model("painter", TextToImage).generate("a circle") == PICTURE
    assert run.steps[0].fraction is None


async def test_cancelling_a_run_cancels_the_call_that_tells() -> None:
    never = Never()
    model = painter([Progress(0.5), never])
    task = asyncio.create_task(Calls(Models([model])).model("painter", TextToImage).generate("a circle"))
    await never.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.handle.responses[0].cancelled
