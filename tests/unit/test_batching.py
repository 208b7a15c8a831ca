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


async def worked(engine: Engine, number: int, seconds: float) -> None:
    """A first batch, of which the engine knows how long it took."""
    (task,) = await waiting(engine, number)
    await asyncio.sleep(seconds)
    engine.go.set()
    await task


async def test_a_batch_waits_for_those_on_their_way() -> None:
    engine = Engine(most=3)
    await worked(engine, 1, seconds=1)
    with engine.calls.on_its_way() as came, engine.calls.on_its_way():
        first = engine.ask(11)
        await asyncio.sleep(0.02)
        second = engine.ask(21)
        asyncio.get_running_loop().call_soon(came)  # the other is still on its way, and there is room
        await asyncio.sleep(0.02)
        assert engine.batches == [[1]]
        assert await asyncio.gather(first, second, engine.ask(31)) == [22, 42, 62]
    assert engine.batches == [[1], [11, 21, 31]]


async def test_a_batch_does_not_wait_for_one_that_failed_on_its_way() -> None:
    engine = Engine()
    await worked(engine, 1, seconds=1)
    first = engine.ask(11)
    with pytest.raises(KeyError), engine.calls.on_its_way():
        await asyncio.sleep(0.02)
        assert engine.batches == [[1]]
        raise KeyError
    async with asyncio.timeout(0.1):  # less than a quarter of what the last batch took
        assert await first == 22


async def test_a_batch_waits_for_a_quarter_of_the_last_ones_time_at_most() -> None:
    engine, clock = Engine(), asyncio.get_running_loop().time
    with engine.calls.on_its_way():
        async with asyncio.timeout(0.1):
            await engine.ask(1)  # the first of all: nothing is known yet
        await worked(engine, 2, seconds=0.4)
        began = clock()
        await engine.ask(3)
        assert 0.05 < clock() - began < 0.3
