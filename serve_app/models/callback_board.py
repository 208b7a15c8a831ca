"""The board on which providers' callbacks are put up: a gateway tells it, the replica that waits for the task hears.

Which replica waits a gateway cannot know, nor could it address that one, so both meet at one small actor. The replica
that first waits makes it. It goes with that replica, and the next that waits makes another: waits that were on it last
their time, after which the provider is asked, as for every callback that gets lost.
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
MOST_TOLD = 1000  # tasks that nobody waits for yet; beyond it the oldest is forgotten
MOST_AT_ONCE = 10_000  # waits and tellings
BOARD_TIMEOUT_S = 5.0  # of a gateway with the board

Tell = Callable[[str], Awaitable[None]]


class Board:
    """What has been told of tasks. A task is waited for by one."""

    def __init__(self) -> None:
        self._waiting = dict[str, asyncio.Event]()
        self._told = dict[str, None]()  # in order

    async def wait(self, task: str, seconds: float) -> bool:
        """Whether it is told within this time, or was before, that the task has ended."""
        if task in self._told:
            del self._told[task]
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
        """A task has ended. It may be told before it is waited for, twice, or of one that nobody waits for."""
        event = self._waiting.get(task)
        if event is not None:
            event.set()
            return
        self._told[task] = None
        while len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]


class SharedBoard:
    """The board of this Ray, for one who waits."""

    def __init__(self) -> None:
        self._board: Any = None

    async def wait(self, task: str, seconds: float) -> bool:
        """As `Board.wait`; without a board it takes all of `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            async with asyncio.timeout_at(end):
                if self._board is None:
                    self._board = await asyncio.to_thread(_open)
                return await self._board.wait.remote(task, end - loop.time())
        except TimeoutError:
            return False
        except (RayError, ValueError) as error:  # the second: between its end and its name's
            self._board = None
            log.warning("callbacks are not heard for a moment: %s", error)
        await asyncio.sleep(max(end - loop.time(), 0.0))
        return False


def listen(backend: Any) -> None:
    """Have a backend hear callbacks, if it is one whose provider calls back."""
    if isinstance(backend, CalledBack):
        backend.callbacks = SharedBoard()


async def tell(task: str) -> None:
    """Put a task that has ended up on the board."""
    try:
        async with asyncio.timeout(BOARD_TIMEOUT_S):
            board: Any = await asyncio.to_thread(ray.get_actor, NAME, NAMESPACE)
            await board.tell.remote(task)
    except ValueError:  # there is no board: nobody waits
        return
    except (RayError, TimeoutError) as error:
        log.warning("a callback could not be told: %s", error)


def _open() -> Any:
    actor: Any = ray.remote(Board)
    options: dict[str, Any] = {"name": NAME, "namespace": NAMESPACE, "get_if_exists": True}
    return actor.options(**options, num_cpus=0, max_concurrency=MOST_AT_ONCE).remote()
