"""How far a call is, told from inside a model to whoever follows it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

EVERY_S = 0.5  # the shortest time between two tellings to who follows from another process

Tell = Callable[[float], None]  # the fraction that is done, 0 to 1; may be called from any thread


@dataclass(frozen=True)
class Progress:
    """What a call that is followed gives before its answer."""

    fraction: float  # 0 to 1


_follower: ContextVar[Tell | None] = ContextVar("follower", default=None)


@contextmanager
def followed_by(tell: Tell) -> Iterator[None]:
    """Calls made in here, and tasks begun in here, tell how far they are."""
    token = _follower.set(tell)
    try:
        yield
    finally:
        _follower.reset(token)


def teller() -> Tell:
    """Where the call that asks this tells how far it is. It may always be called: perhaps nobody listens."""
    return _follower.get() or (lambda fraction: None)


async def following(call: Coroutine[Any, Any, Any]) -> AsyncGenerator[Any]:
    """How far `call` is, as it goes on (`Progress`), then its answer. Closing the iterator cancels the call.

    Raises:
        what the call raises.
    """
    loop, moved = asyncio.get_running_loop(), asyncio.Event()
    newest = 0.0

    def tell(fraction: float) -> None:
        nonlocal newest
        newest = fraction
        loop.call_soon_threadsafe(moved.set)

    with followed_by(tell):
        task = asyncio.create_task(call)
    task.add_done_callback(lambda done: moved.set())
    try:
        while True:
            await moved.wait()
            if task.done():
                break
            moved.clear()
            yield Progress(newest)
            await asyncio.wait((task,), timeout=EVERY_S)
        yield task.result()
    finally:
        task.cancel()
