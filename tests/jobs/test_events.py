"""Whoever follows a job gets every event once, in order, from where they left off."""

import asyncio
import time
from typing import Any

import pytest

from serve_app.jobs import queue
from serve_app.jobs.events import Tail
from serve_app.jobs.job import Event
from serve_app.storage.artifacts import Artifacts
from serve_app.storage.database import Database

from .work import Scribe, drain, runner_of, wish


async def all_of(tail: Tail, job_id: str, after: int = 0) -> list[Event]:
    return [event async for event in tail.follow(job_id, after)]


async def test_followers_get_what_was_and_what_comes_and_the_stream_ends_with_the_job(
    database: Database, artifacts: Artifacts
) -> None:
    job, _ = await database.write(queue.create, wish(steps=3))
    other, _ = await database.write(queue.create, wish(user="bob", steps=1))
    tail = Tail(database)
    try:
        async with asyncio.timeout(20):
            early = asyncio.create_task(all_of(tail, job.id))
            await asyncio.sleep(0.1)
            await drain(runner_of(database, artifacts, Scribe(seconds=0.05)))
            seen = await early
            assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
            assert seen[-1].ends and {event.job_id for event in seen} == {job.id}
            assert await all_of(tail, job.id) == seen
            assert await all_of(tail, job.id, after=3) == seen[3:]
            assert await all_of(tail, job.id, after=seen[-1].seq) == []
            assert len(await all_of(tail, other.id)) >= 3
    finally:
        tail.stop()


async def test_an_event_is_told_soon_after_its_commit(database: Database) -> None:
    job, _ = await database.write(queue.create, wish())
    tail, arrived = Tail(database), dict[int, float]()

    async def follow() -> None:
        async for event in tail.follow(job.id):
            arrived[event.seq] = time.monotonic()

    following = asyncio.create_task(follow())
    try:
        await asyncio.sleep(0.5)
        committed = {}
        for seq in range(2, 22):
            await database.write(queue.append, job.id, "log", {"message": "hello"})
            committed[seq] = time.monotonic()
            await asyncio.sleep(0.03)
        async with asyncio.timeout(3):
            while len(arrived) < 21:
                await asyncio.sleep(0.01)
        late = sorted(arrived[seq] - committed[seq] for seq in committed)
        print(f"events told {late[10] * 1000:.0f} ms after their commit, the last one of 20 {late[-1] * 1000:.0f} ms")
        assert late[10] < 0.1
    finally:
        following.cancel()
        tail.stop()


async def test_a_follower_who_comes_during_a_read_from_later_on_misses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = await database.write(queue.create, wish())
    for number in range(5):
        await database.write(queue.append, job.id, "log", {"message": str(number)})
    tail, reading, go_on = Tail(database), asyncio.Event(), asyncio.Event()
    read, held = database.read, False

    async def held_once(work: Any, *arguments: Any) -> Any:
        nonlocal held
        if arguments == ({job.id: 6},) and not held:
            held = True
            reading.set()
            await go_on.wait()
        return await read(work, *arguments)

    monkeypatch.setattr(database, "read", held_once)
    late, early = list[int](), list[int]()

    async def follow(after: int, seen: list[int]) -> None:
        async for event in tail.follow(job.id, after):
            seen.append(event.seq)

    following = [asyncio.create_task(follow(6, late))]
    try:
        async with asyncio.timeout(10):
            await reading.wait()
            following.append(asyncio.create_task(follow(0, early)))
            await database.write(queue.append, job.id, "log", {"message": "the seventh"})
            await asyncio.sleep(0.2)
            go_on.set()
            while len(early) < 7 or len(late) < 1:
                await asyncio.sleep(0.01)
        assert early == [1, 2, 3, 4, 5, 6, 7] and late == [7]
    finally:
        for task in following:
            task.cancel()
        tail.stop()
