"""Threads in which files are opened: a file that takes long holds up other files and nothing else."""

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Decoders leave Python's lock, so two of them use two cores; what answers from the store has threads of its own.
THREADS = ThreadPoolExecutor(max(2, (os.cpu_count() or 2) // 2), "media")


async def in_media_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a function that opens media, like `asyncio.to_thread`."""
    call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(THREADS, call)
