"""Models that cannot start: Serve gives up on a deployment after some tries, but calls to it keep waiting."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

from deployments.errors import ModelUnavailable

from ..errors import StatusUnavailable
from .serve_status import ServeStatus

T = TypeVar("T")

POLL_S = 5.0  # before a waiting call first reads Serve's status, and between reads: most models start faster

STATUS = ServeStatus()  # this process's reader of Serve's status


async def unless_it_cannot_start(deployment: str, answer: Awaitable[T]) -> T:
    """The value of `answer`, awaited until Serve has given up starting the deployment.

    Raises:
        ModelUnavailable: Serve has given up starting the deployment, and none of its replicas runs.
    """
    loop, bound, reason = asyncio.get_running_loop(), asyncio.timeout(None), ""
    polling: asyncio.Task[None] | None = None

    async def poll() -> None:
        nonlocal reason
        while True:
            with contextlib.suppress(StatusUnavailable):  # the call itself may still be answered
                status = (await STATUS.read()).get(deployment)
                if status is not None and status.given_up:
                    reason = status.reason or "its replicas fail to start"
                    return bound.reschedule(loop.time())
            await asyncio.sleep(POLL_S)

    def begin() -> None:
        nonlocal polling
        polling = loop.create_task(poll())

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
        if polling is not None:
            polling.cancel()
