"""Bounds on request bodies that are on their way: their bytes, their pace and how many of them a user may send at once.

A request counts as one of the gateway's from its first byte, so a few hundred bodies that never end would close the
service for everybody.
"""

import asyncio
from collections import Counter

from starlette.types import Message, Receive

from ..errors import BodyTooLarge, BodyTooSlow, TooManyUploads
from ..identity import Identity

GRACE_S = 20.0  # for which any pace will do
SLOWEST_BYTES_PER_S = 10_000  # after the grace, on average: 32 MB may take an hour
MOST_AT_ONCE = 100  # bodies of one user that a gateway waits for


class Uploads:
    """The bodies that this process receives.

    Args:
        max_bytes: the size of the largest body.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting = Counter[str]()  # bodies whose next part has not come, by user

    def bounded(self, receive: Receive, identity: Identity | None) -> Receive:
        """`receive` within the bounds. What comes after the body, the client's leaving, has none.

        Its `receive` raises BodyTooLarge, BodyTooSlow and TooManyUploads.
        """
        user = identity.user if identity else ""
        received, complete, began = 0, False, 0.0

        async def bounded() -> Message:
            nonlocal received, complete, began
            if complete:
                return await receive()
            if self._waiting[user] >= MOST_AT_ONCE:
                raise TooManyUploads(f"{MOST_AT_ONCE} request bodies of yours are on their way. Send fewer at once.")
            began = began or asyncio.get_running_loop().time()
            self._waiting[user] += 1
            try:
                async with asyncio.timeout_at(began + GRACE_S + received / SLOWEST_BYTES_PER_S):
                    message = await receive()
            except TimeoutError:
                raise BodyTooSlow(
                    f"{received:,} bytes of the body came within {GRACE_S + received / SLOWEST_BYTES_PER_S:.0f} s; "
                    f"send at least {SLOWEST_BYTES_PER_S:,} bytes per second."
                ) from None
            finally:
                self._waiting[user] -= 1
                if not self._waiting[user]:
                    del self._waiting[user]
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._max_bytes:
                raise BodyTooLarge(f"The body has more than {self._max_bytes:,} bytes (gateway.max_body_mb).")
            return message

        return bounded
