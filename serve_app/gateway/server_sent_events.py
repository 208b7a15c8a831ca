"""Server-sent events (HTML standard, section 9.2), with comments that keep the connection alive."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Send

KEEP_ALIVE_S = 15.0
COMMENT = b": keep-alive\n\n"
FIRST_EVENT_S = 1.0  # an error within this time gets its own HTTP status


def event(data: str, name: str | None = None, id: int | None = None) -> str:
    """An event as text.

    Args:
        data: one line, such as JSON in ASCII: clients' line readers split at U+2028 and its like.
        name: the event's name; clients call an event without a name `message`.
        id: the event's id, which a client that reconnects sends as `Last-Event-ID`.
    """
    head = "" if id is None else f"id: {id}\n"
    return f"{head}event: {name}\ndata: {data}\n\n" if name else f"{head}data: {data}\n\n"


class EventStream(StreamingResponse):
    """A response of events. After `KEEP_ALIVE_S` seconds without an event it sends a comment, so that no proxy between
    the service and the client closes the connection."""

    def __init__(self, events: AsyncIterator[str]) -> None:
        headers = {"x-accel-buffering": "no"}  # nginx would buffer the events
        super().__init__(events, media_type="text/event-stream", headers=headers)

    async def stream_response(self, send: Send) -> None:
        loop, sending = asyncio.get_running_loop(), asyncio.Lock()
        last = loop.time()

        async def keep_alive() -> None:
            while True:
                await asyncio.sleep(max(0.0, last + KEEP_ALIVE_S - loop.time()))
                if loop.time() - last >= KEEP_ALIVE_S and not sending.locked():  # locked: the client does not read
                    await write(COMMENT)

        async def write(body: bytes) -> None:
            nonlocal last
            async with sending:
                await send({"type": "http.response.body", "body": body, "more_body": True})
            last = loop.time()

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        keeping = asyncio.create_task(keep_alive())
        events: Any = self.body_iterator
        try:
            async with contextlib.aclosing(events):  # closed at once, even if the client left during a write
                async for text in events:
                    await write(str(text).encode())
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await keeping
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def begun(events: AsyncGenerator[str], within_s: float | None = None) -> EventStream:
    """The response for a stream of events, returned with the first event: an earlier error gets its own HTTP status.

    Args:
        within_s: seconds after which the response begins without an event; None: it waits for the first event.
    """
    first = asyncio.ensure_future(anext(events, None))
    try:
        await asyncio.wait((first,), timeout=within_s)
        if first.done():
            first.result()
    except BaseException:
        first.cancel()
        raise
    return EventStream(_chained(first, events))


async def _chained(first: "asyncio.Future[Any]", rest: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """A stream of events whose first item was requested earlier."""
    async with contextlib.aclosing(rest):
        try:
            item = await first
            if item is None:
                return
            yield item
        finally:
            if not first.done():
                first.cancel()
                await asyncio.wait((first,))
        async for text in rest:
            yield text
