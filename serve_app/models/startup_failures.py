"""Models that cannot start. Serve gives up on one after some tries, but calls to it go on waiting for a replica."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

import ray
from ray import serve

from deployments.errors import ModelUnavailable

from ..config.schema import APPLICATION
from ..errors import reason_of

T = TypeVar("T")

POLL_S = 5.0  # that a call waits before it is looked why, and between looks: most models start faster
GIVEN_UP = "REPLICA_STARTUP_FAILED"  # Serve's word; one whose replica died later is started again, and waited for


class _Seen:
    """Serve's account of what it has given up on, by deployment; asked for at most every `POLL_S` for all calls."""

    def __init__(self) -> None:
        self._reasons = dict[str, str]()
        self._read_at = -POLL_S

    async def reason(self, deployment: str) -> str:
        """Why it cannot start; "" if it runs, or may yet."""
        if time.monotonic() - self._read_at >= POLL_S:
            self._read_at = time.monotonic()
            self._reasons = await asyncio.to_thread(_given_up)
        return self._reasons.get(deployment, "")


_seen = _Seen()


async def unless_it_cannot_start(deployment: str, answer: Awaitable[T]) -> T:
    """What `answer` gives.

    Raises:
        ModelUnavailable: Serve has given up starting the deployment, and none of its replicas runs.
    """
    loop, bound, reason = asyncio.get_running_loop(), asyncio.timeout(None), ""
    looking: asyncio.Task[None] | None = None

    async def look() -> None:
        nonlocal reason
        while True:
            reason = await _seen.reason(deployment)
            if reason:
                return bound.reschedule(loop.time())
            await asyncio.sleep(POLL_S)

    def begin() -> None:
        nonlocal looking
        looking = loop.create_task(look())

    timer = loop.call_later(POLL_S, begin)
    try:
        async with bound:
            return await answer
    except TimeoutError:
        if not reason:  # the answer's own
            raise
        raise ModelUnavailable(f"cannot be started: {reason}") from None
    finally:
        timer.cancel()
        if looking is not None:
            looking.cancel()


def _given_up() -> dict[str, str]:
    application = serve.status().applications.get(APPLICATION) if ray.is_initialized() else None
    return {
        name: reason_of(seen.message)
        for name, seen in (application.deployments if application else {}).items()
        if seen.status_trigger == GIVEN_UP and not any(state == "RUNNING" for state in seen.replica_states)
    }
