"""Batches of calls: who is worked on together, who waits, and what one caller's trouble is to the others."""

import asyncio
from collections.abc import Sequence

import pytest

from deployments.batching import Batches, Call
from deployments.errors import ModelUnavailable, OutOfMemory

pytestmark = pytest.mark.asyncio


class Engine:
    """Doubles numbers; each batch waits for `go`."""

    def __init__(self, most: int = 4, room: int = 100) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.room = room
        self.calls = Batches[int, int](self._work, most)

    async def _work(self, calls: Sequence[Call[int, int]]) -> list[int]:
        self.batches.append([call.item for call in calls])
        await self.go.wait()
        if len(calls) > self.room:
            raise OutOfMemory("full")
        if any(call.item < 0 for call in calls):
            raise ModelUnavailable("negative")
        if all(call.cancelled.is_set() for call in calls):
            raise asyncio.CancelledError
        return [2 * call.item for call in calls]

    def ask(self, number: int) -> "asyncio.Task[int]":
        return asyncio.create_task(self.calls.answer(number, number % 10))


async def waiting(engine: Engine, *numbers: int) -> "list[asyncio.Task[int]]":
    """Calls that wait while the engine works on the first of them."""
    engine.go.clear()
    tasks = [engine.ask(number) for number in numbers]
    await asyncio.sleep(0.01)
    return tasks


async def test_a_call_that_comes_alone_is_answered_alone() -> None:
    engine = Engine()
    assert [await engine.ask(3), await engine.ask(4)] == [6, 8]
    assert engine.batches == [[3], [4]]


async def test_those_of_a_kind_that_wait_are_worked_on_together_in_the_order_they_came() -> None:
    engine = Engine(most=3)
    tasks = await waiting(engine, 1)
    tasks += await waiting(engine, 11, 2, 21, 31, 41)
    engine.go.set()
    assert await asyncio.gather(*tasks) == [2, 22, 4, 42, 62, 82]
    assert engine.batches == [[1], [11, 21, 31], [2], [41]]


async def test_a_failure_is_of_its_batch_alone() -> None:
    engine = Engine()
    tasks = [*await waiting(engine, 1), *await waiting(engine, -9, 11)]
    engine.go.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert done[0] == 2
    assert isinstance(done[1], ModelUnavailable)
    assert isinstance(done[2], ModelUnavailable)
    assert await engine.ask(5) == 10


async def test_one_that_goes_away_leaves_the_others_of_its_batch() -> None:
    engine = Engine()
    (first,) = await waiting(engine, 1)
    second, third, fourth = await waiting(engine, 11, 21, 31)
    second.cancel()  # before its batch began
    await asyncio.sleep(0.01)
    engine.go.set()
    await first
    assert await third == 42
    assert await fourth == 62
    assert engine.batches == [[1], [21, 31]]


async def test_work_nobody_waits_for_ends_and_the_next_begins() -> None:
    engine = Engine()
    (first,) = await waiting(engine, 1)
    (second,) = await waiting(engine, 2)
    first.cancel()
    await asyncio.sleep(0.01)
    engine.go.set()
    assert await second == 4


async def test_a_batch_that_does_not_fit_is_halved_and_later_ones_are_small() -> None:
    engine = Engine(most=4, room=2)
    tasks = [*await waiting(engine, 1), *await waiting(engine, 11, 21, 31, 41)]
    engine.go.set()
    assert await asyncio.gather(*tasks) == [2, 22, 42, 62, 82]
    assert engine.batches == [[1], [11, 21, 31, 41], [11, 21], [31, 41]]
    tasks = [*await waiting(engine, 1), *await waiting(engine, 11, 21, 31)]
    engine.go.set()
    await asyncio.gather(*tasks)
    assert engine.batches[4:] == [[1], [11, 21], [31]]


async def test_one_that_does_not_fit_alone_is_out_of_memory() -> None:
    engine = Engine(room=0)
    with pytest.raises(OutOfMemory):
        await engine.ask(1)
