"""How far a call is, told from inside a model to whoever follows it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from .provider_tasks import TaskCreated, Tasks, calling

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


async def following(call: Coroutine[Any, Any, Any], tasks: Iterable[str] = ()) -> AsyncGenerator[Any]:
    """What `call` tells as it goes on (`Progress`, `TaskCreated`), then its answer. Closing the iterator cancels the
    call.

    Args:
        tasks: provider's tasks that earlier attempts at the call created.

    Raises:
        what the call raises.
    """
    loop, moved = asyncio.get_running_loop(), asyncio.Event()
    newest: float | None = None
    created = list[TaskCreated]()

    def keep(task: TaskCreated) -> None:
        created.append(task)
        loop.call_soon_threadsafe(moved.set)

    def tell(fraction: float) -> None:
        nonlocal newest
        newest = fraction
        loop.call_soon_threadsafe(moved.set)

    with followed_by(tell), calling(Tasks(tasks, keep)):
        task = asyncio.create_task(call)
    task.add_done_callback(lambda done: moved.set())
    try:
        while True:
            await moved.wait()
            moved.clear()
            while created:
                yield created.pop(0)
            if task.done():
                break
            if newest is not None:
                yield Progress(newest)
                await asyncio.wait((task,), timeout=EVERY_S)
        yield task.result()
    finally:
        task.cancel()
