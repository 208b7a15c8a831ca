"""A pool of threads in which untrusted bodies are read and their media opened.

It is separate from the pool of `asyncio.to_thread`, which answers files: a body that takes long holds up only other
bodies.
"""

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from ..replicas.memory import give_back

QUIET_S = 1.0
_timers: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.TimerHandle] = WeakKeyDictionary()

P = ParamSpec("P")
R = TypeVar("R")

# Decoders leave Python's lock, so two of them use two cores.
THREADS = ThreadPoolExecutor(max(2, (os.cpu_count() or 2) // 2), "parsing")


async def in_parsing_pool(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of a function, called in a thread of the pool with the caller's context, like `asyncio.to_thread`."""
    call = functools.partial(contextvars.copy_context().run, functools.partial(function, *args, **kwargs))
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(THREADS, call)
    finally:
        _give_memory_back_soon(loop)


def _give_memory_back_soon(loop: asyncio.AbstractEventLoop) -> None:
    """Return freed memory to the system once nothing has been opened for a while: the allocator would keep it."""
    if (timer := _timers.pop(loop, None)) is not None:
        timer.cancel()
    _timers[loop] = loop.call_later(QUIET_S, lambda: loop.run_in_executor(THREADS, give_back))
