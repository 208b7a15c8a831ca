"""A pool of threads in which untrusted bodies are read and their media opened.

It is separate from the pool of `asyncio.to_thread`, which answers files: a body that takes long holds up only other
bodies.
"""

import asyncio
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

THREADS = max(2, min(8, os.cpu_count() or 1))
_pool = ThreadPoolExecutor(THREADS, "parsing")


async def in_parsing_pool(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of a function, called in a thread of the pool."""
    call = functools.partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_pool, call)
