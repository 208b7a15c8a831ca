"""Calls that are alike are worked on together: what waits while the engine works makes its next batch."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Hashable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .errors import OutOfMemory

Item = TypeVar("Item")
Answer = TypeVar("Answer")

PATIENCE = 0.25  # the longest a batch waits for calls on their way, as a part of what the last batch took


@dataclass(frozen=True, eq=False)
class Call(Generic[Item, Answer]):
    """One caller's item, in a batch or waiting for one. The event is set when the caller has gone."""

    item: Item
    kind: Hashable
    cancelled: threading.Event = field(default_factory=threading.Event)
    answer: "asyncio.Future[Answer]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batches(Generic[Item, Answer]):
    """One batch at a time. An engine that rests takes the first call at once, unless others are known to be on their
    way.

    Where the device is too full for a batch it is halved, and no later one is as large.

    Args:
        work: answers the calls of a batch, in their order; it may raise for all of them.
        most: calls in one batch.
    """

    def __init__(self, work: Callable[[Sequence[Call[Item, Answer]]], Awaitable[Sequence[Answer]]], most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: list[Call[Item, Answer]] = []
        self._working: asyncio.Task[None] | None = None
        self._coming = set[object]()
        self._came = asyncio.Event()
        self._took = 0.0  # seconds, the last batch

    @contextmanager
    def on_its_way(self) -> Generator[Callable[[], None]]:
        """A call is being prepared, for which a batch that has room waits a moment: where reading ten together takes
        little longer than one, and preparing one far less, the first would else be read alone.

        It is there when what this gives is called, in the event loop, or at the end.
        """
        mark = object()

        def came() -> None:
            self._coming.discard(mark)
            self._came.set()

        self._coming.add(mark)
        try:
            yield came
        finally:
            came()

    async def answer(self, item: Item, kind: Hashable) -> Answer:
        """The answer to `item`, worked on with others of its `kind`.

        Raises:
            OutOfMemory: it does not fit, even alone.
        """
        call = Call[Item, Answer](item, kind)
        self._waiting.append(call)
        if self._working is None:
            self._working = asyncio.create_task(self._run())
        try:
            return await call.answer
        finally:
            call.cancelled.set()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                first = self._waiting[0]
                batch = [call for call in self._waiting if call.kind == first.kind][: self._most]
                self._waiting = [call for call in self._waiting if call not in batch]
                began = asyncio.get_running_loop().time()
                await self._together([call for call in batch if not call.answer.done()])
                self._took = asyncio.get_running_loop().time() - began
        finally:
            self._working = None

    async def _gather(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._took * PATIENCE):
                while self._coming and len(self._waiting) < self._most:
                    self._came.clear()
                    await self._came.wait()

    async def _together(self, batch: Sequence[Call[Item, Answer]]) -> None:
        if not batch:
            return
        try:
            answers = await self._work(batch)
        except OutOfMemory as error:
            if len(batch) == 1:
                return _fail(batch, error)
        except Exception as error:
            return _fail(batch, error)
        except asyncio.CancelledError:  # how work ends that nobody waits for any more
            if not all(call.cancelled.is_set() for call in batch):
                raise
            return
        else:
            for call, answer in zip(batch, answers, strict=True):
                if not call.answer.done():
                    call.answer.set_result(answer)
            return
        half = len(batch) // 2  # after the error is gone, and with it all that it holds of what was too much
        self._most = min(self._most, half)
        await self._together(batch[:half])
        await self._together(batch[half:])


def _fail(batch: Sequence[Call[Item, Answer]], error: Exception) -> None:
    for call in batch:
        if not call.answer.done():
            call.answer.set_exception(error)
