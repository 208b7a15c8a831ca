"""The slots of a process for webhook deliveries, apart from those for runs: a receiver may take 15 s to answer."""

import asyncio
from collections.abc import Awaitable, Callable

from .job import Claimed

SLOTS = 32


class DeliverySlots:
    """The deliveries that a process makes at once.

    Args:
        claim: claims at most a number of deliveries that are due.
        start: starts a claimed delivery.
    """

    def __init__(
        self, claim: Callable[[int], Awaitable[list[Claimed]]], start: Callable[[Claimed], "asyncio.Task[None]"]
    ) -> None:
        self._claim, self._start = claim, start
        self._running: set[asyncio.Task[None]] = set()
        self._filling: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()  # a delivery has ended, or others may be due

    def fill(self) -> None:
        """Start the deliveries that are due, now and whenever one has ended, until none is due."""
        self._changed.set()
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill())

    async def stop(self) -> None:
        """Start no more deliveries."""
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait((self._filling,))

    async def _fill(self) -> None:
        while True:
            self._changed.clear()  # before the claim: a delivery that ends during it may make room for the next
            free = SLOTS - len(self._running)
            claimed = await self._claim(free) if free else []
            for job in claimed:
                task = self._start(job)
                self._running.add(task)
                task.add_done_callback(self._ended)
            if not claimed and not self._changed.is_set():
                if not self._running:
                    return
                await self._changed.wait()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._changed.set()
