"""The callback board: gateways announce providers' callbacks on it, replicas wait on it for their tasks.

A gateway neither knows which replica waits nor can address it, so both meet at one small actor. The first replica that
waits creates the actor. It ends with that replica, and the next replica that waits creates another; waits on the old
board run until their timeout, after which the replica polls the provider, as for every lost callback.
"""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import ray
from ray.exceptions import RayError

from deployments.callbacks import CalledBack

log = logging.getLogger("ray.serve")

NAME, NAMESPACE = "callbacks", "medley"
MAX_UNCLAIMED = 1000  # ended tasks that no replica waits for yet; beyond this the oldest is dropped
MAX_CONCURRENCY = 10_000  # calls of the board at once
BOARD_TIMEOUT_S = 5.0  # of a gateway's call

Tell = Callable[[str], Awaitable[None]]


class Board:
    """The ended tasks, and the replicas that wait for tasks. At most one replica waits for a task."""

    def __init__(self) -> None:
        self._waiting = dict[str, asyncio.Event]()
        self._unclaimed = dict[str, None]()  # in order

    async def wait(self, task: str, seconds: float) -> bool:
        """Wait for a task to end; returns whether it ended before or within this time."""
        if task in self._unclaimed:
            del self._unclaimed[task]
            return True
        event = self._waiting[task] = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
            return True
        except TimeoutError:
            return False
        finally:
            if self._waiting.get(task) is event:
                del self._waiting[task]

    async def tell(self, task: str) -> None:
        """Announce that a task has ended: perhaps before a replica waits for it, twice, or with no replica waiting."""
        event = self._waiting.get(task)
        if event is not None:
            event.set()
            return
        self._unclaimed[task] = None
        while len(self._unclaimed) > MAX_UNCLAIMED:
            del self._unclaimed[next(iter(self._unclaimed))]


class SharedBoard:
    """A replica's access to the board of its Ray cluster."""

    def __init__(self) -> None:
        self._board: Any = None

    async def wait(self, task: str, seconds: float) -> bool:
        """Wait as `Board.wait` does; without a board, for all of `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            async with asyncio.timeout_at(end):
                if self._board is None:
                    self._board = await asyncio.to_thread(_open)
                return await self._board.wait.remote(task, end - loop.time())
        except TimeoutError:
            return False
        except (RayError, ValueError) as error:  # ValueError: the board has ended and its name is not free yet
            self._board = None
            log.warning("waiting for a callback failed: %s", error)
        await asyncio.sleep(max(end - loop.time(), 0.0))
        return False


def listen(backend: Any) -> None:
    """Connect a backend to the board, if its provider sends callbacks."""
    if isinstance(backend, CalledBack):
        backend.callbacks = SharedBoard()


async def tell(task: str) -> None:
    """Announce on the board that a task has ended."""
    try:
        async with asyncio.timeout(BOARD_TIMEOUT_S):
            board: Any = await asyncio.to_thread(ray.get_actor, NAME, NAMESPACE)
            await board.tell.remote(task)
    except ValueError:  # there is no board: no replica waits
        return
    except (RayError, TimeoutError) as error:
        log.warning("announcing a callback failed: %s", error)


def _open() -> Any:
    actor: Any = ray.remote(Board)
    options: dict[str, Any] = {"name": NAME, "namespace": NAMESPACE, "get_if_exists": True}
    return actor.options(**options, num_cpus=0, max_concurrency=MAX_CONCURRENCY).remote()
