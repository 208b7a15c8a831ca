"""What every model backend has besides its capability.

A backend is a plain class: made without arguments, loaded by `reconfigure`, then called. Ray is nowhere in it;
`serve_app/app.py` wraps it. Its engine (torch, pocketsphinx, ...) is imported inside its methods, so that the gateway,
the builder and the command line never pay for it.
"""

import asyncio
import contextvars
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")

LOOK_S = 0.1  # how often work that waits looks whether its caller has gone
GPU_MEMORY = "GPU_MEMORY_GIB"  # environment of a replica: how much of each of its GPUs it may use
WEIGHTS_FOLDER = "MEDLEY_WEIGHTS"  # environment: a folder with ORG/NAME/..., looked at before the hub's cache
STARTER = Path(__file__).parent / "starter"


class Options(BaseModel):
    """A backend's `user_config`: weights and parameters that may change while it runs. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Needs:
    """What one replica takes, unless the profile's `deployments:` say otherwise. How many there are, a profile says."""

    cpus: float = 0.25  # of a core, for Ray's placement
    gpus: float = 0.0  # fraction of one GPU
    concurrency: int = 4  # calls one replica works on at once


class Backend:
    """The life of a model: `reconfigure`, then any number of its capability's calls, and `reconfigure` again.

    A backend inherits it before its capability: `class GrabCut(Backend, Segmentation)`.
    """

    Options: ClassVar[type[BaseModel]]  # its `user_config`; each backend has its own
    needs: ClassVar[Needs] = Needs()
    tells_progress: ClassVar[bool] = False  # whether its calls tell how far they are (`progress.py`)

    async def reconfigure(self, options: Any) -> None:
        """Load what `options` name. New weights are complete before the old are let go: calls in flight never fail.

        Raises:
            MedleyError: the weights are missing, damaged or of another kind; the old ones stay in use.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it is loaded")

    def check_health(self) -> None:
        """Return if it can answer, raise `ModelUnavailable` if not. Ray replaces a replica that raises."""
        self._ready()

    def _ready(self) -> Any:
        """What calls work with: the engine or the options that are loaded.

        Raises:
            ModelUnavailable: nothing is loaded yet, or it has failed for good.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it has loaded")


async def in_thread(work: Callable[[threading.Event], T], threads: Executor | None = None) -> T:
    """Run blocking work beside the event loop. The event is set when the caller is cancelled: the work looks at it.

    Args:
        threads: for work that waits: it would fill the common ones, of which there are few.
    """
    cancelled = threading.Event()
    context = contextvars.copy_context()
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, lambda: context.run(work, cancelled))
    finally:
        cancelled.set()


async def out_of_thread(
    work: Callable[[Callable[[T], None], threading.Event], None], threads: Executor | None = None
) -> AsyncGenerator[T]:
    """What blocking work gives, as it gives it, until it returns. The event is set when the iterator is closed."""
    loop, given = asyncio.get_running_loop(), asyncio.Queue[list[T]]()

    def give(item: T) -> None:
        loop.call_soon_threadsafe(given.put_nowait, [item])

    working = asyncio.create_task(in_thread(lambda cancelled: work(give, cancelled), threads))

    def ended(done: asyncio.Task[None]) -> None:
        given.put_nowait([])
        if not done.cancelled():
            done.exception()  # who has closed the iterator does not ask for it

    working.add_done_callback(ended)
    try:
        while items := await given.get():
            yield items[0]
        await working
    finally:
        working.cancel()


@contextmanager
def turn(lock: threading.Lock, gone: Callable[[], bool]) -> Generator[None]:
    """Holds a lock of blocking work. While it waits it looks whether anybody still wants the work.

    Raises:
        CancelledError: nobody does.
    """
    while not lock.acquire(timeout=LOOK_S):
        if gone():
            raise CancelledError
    try:
        yield
    finally:
        lock.release()


def weights_path(weights: str) -> str:
    """`starter/NAME` is a folder that ships with Medley, a name in the weights folder (`MEDLEY_WEIGHTS`) the one there;
    anything else (another folder, a hub name) is left as it is."""
    if weights.startswith("starter/"):
        return str(STARTER / weights.removeprefix("starter/") / "weights")
    root = os.environ.get(WEIGHTS_FOLDER)
    if root and not weights.startswith(("/", ".", "~")) and (folder := Path(root).expanduser() / weights).is_dir():
        return str(folder)
    return weights
