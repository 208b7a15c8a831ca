"""The receiver of streams of small items: one connection from each replica carries all its streams.

Serve sends every item of every stream as its own message, which costs both ends more than a token costs the engine that
makes it. Here a replica sends the items that several streams have at the same moment in one write
(`replicas/stream_sender.py`), and no item waits for others. The call itself stays Serve's: it is routed, counted and
cancelled like any other, and returns how many items it sent.
"""

import asyncio
import hmac
import itertools
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import ReceiverUnreachable

LATE_ITEM_TIMEOUT_S = 10.0  # the longest an item may come after the answer that counts it
TOKEN_TIMEOUT_S = 5.0  # in which a new connection has to send the token
COOLDOWN_S = 60.0  # for which a model whose replicas cannot connect streams over Serve

# Idle connections are probed: a connection that a firewall dropped would otherwise stay silent for long.
ALIVE = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}


class Address(NamedTuple):
    """The address of a stream receiver. Every connection begins with the token, which allows sending items."""

    host: str
    port: int
    token: str


class StreamReceiver:
    """The stream receiver of one process.

    Args:
        host: the address of this node that replicas connect to; the receiver listens on no other.
    """

    def __init__(self, host: str) -> None:
        self._host, self._token = host, secrets.token_urlsafe(32)
        self._opening: asyncio.Task[asyncio.Server] | None = None
        self._streams = dict[int, ReceivedStream]()
        self._numbers = itertools.count(1)
        self._unreachable = dict[str, float]()  # models whose replicas cannot connect, and when they may try again

    async def address(self) -> Address:
        """The address of this receiver, which starts to listen on the first call.

        Raises:
            ReceiverUnreachable: the receiver cannot listen on the host.
        """
        if self._opening is None:
            loop = asyncio.get_running_loop()
            self._opening = asyncio.ensure_future(loop.create_server(lambda: _Sender(self), self._host))
        try:
            server = await asyncio.shield(self._opening)
        except OSError as error:
            self._opening = None
            raise ReceiverUnreachable(f"the stream receiver cannot listen on {self._host}: {error}") from None
        return Address(self._host, server.sockets[0].getsockname()[1], self._token)

    async def close(self) -> None:
        if self._opening is not None:
            (await self._opening).close()

    def is_reached_by(self, model: str) -> bool:
        until = self._unreachable.get(model)
        return until is None or time.monotonic() > until

    def give_up(self, model: str) -> None:
        """Let a model's streams come over Serve for a while, because its replicas cannot connect."""
        self._unreachable[model] = time.monotonic() + COOLDOWN_S

    def expect(self, stream: "ReceivedStream") -> int:
        """Register a stream; returns the number that its items carry."""
        number = next(self._numbers)
        self._streams[number] = stream
        return number

    def forget(self, number: int) -> None:
        self._streams.pop(number, None)

    def knows(self, token: bytes) -> bool:
        return hmac.compare_digest(token, self._token.encode())

    def take(self, number: int, item: bytes) -> None:
        stream = self._streams.get(number)
        if stream is not None:  # items of a cancelled stream are dropped
            stream.put(item)


def keep_alive(transport: Any) -> None:
    """Have the operating system notice a connection whose other end is gone."""
    connection = transport.get_extra_info("socket")
    for name, value in ALIVE.items():
        if hasattr(socket, name):  # not every system has each
            level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
            connection.setsockopt(level, getattr(socket, name), value)


class _Sender(asyncio.Protocol):
    """A replica's connection: a line with the token, then a line for each item, the stream's number and JSON."""

    def __init__(self, receiver: StreamReceiver) -> None:
        self._receiver, self._known, self._rest = receiver, False, b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._token_timer = asyncio.get_running_loop().call_later(TOKEN_TIMEOUT_S, transport.abort)
        keep_alive(transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._known:
                number, _, item = line.partition(b" ")
                self._receiver.take(int(number), item)
            elif self._receiver.knows(line):
                self._known = True
                self._token_timer.cancel()
            else:
                self._transport.abort()
                return
        if not self._known and len(self._rest) > 1000:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._token_timer.cancel()


class ReceivedStream:
    """A stream of items that acts like Serve's own: iterated over once, and cancelled on the replica by `cancel`.

    Args:
        read: parses an item's JSON.
        call: makes the call, which posts the items to an address under a number and returns how many there were.
    """

    def __init__(
        self, receiver: StreamReceiver, read: Callable[[bytes], Any], call: Callable[[Address, int], Any]
    ) -> None:
        self._receiver, self._read, self._call = receiver, read, call
        self._number = 0
        self._response: Any = None
        self._answer: asyncio.Task[None] | None = None
        self._waiting = deque[bytes]()
        self._received, self._sent = 0, -1  # numbers of items; `_sent` is known when the call has returned
        self._error: BaseException | None = None
        self._changed: asyncio.Future[None] | None = None
        self._timers = list[asyncio.TimerHandle]()

    def __aiter__(self) -> "ReceivedStream":
        return self

    async def __anext__(self) -> Any:
        """The next item.

        Raises:
            the call's error, after the items received before it.
        """
        if self._answer is None:
            address = await self._receiver.address()
            self._number = self._receiver.expect(self)
            self._response = self._call(address, self._number)
            self._answer = asyncio.create_task(self._await_answer())
        while not self._waiting:
            if self._received == self._sent:
                self._release()
                raise StopAsyncIteration
            if self._error is not None:
                self._release()
                raise self._error
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        return self._read(self._waiting.popleft())

    def cancel(self) -> None:
        if self._response is not None:
            self._response.cancel()
        self._release()

    def fail_at(self, time: float, error: Exception) -> None:
        """Raise `error` from the stream if it has not ended by `time` on the event loop's clock."""
        self._timers.append(asyncio.get_running_loop().call_at(time, self._fail, error))

    def put(self, item: bytes) -> None:
        self._waiting.append(item)
        self._received += 1
        self._wake()

    async def _await_answer(self) -> None:
        try:
            self._sent = await self._response
        except BaseException as error:  # a cancellation too: the iterating caller must get it
            self._fail(error)
        else:
            if self._received != self._sent:
                late = ReceiverUnreachable("a part of the answer was lost in transit")
                self.fail_at(asyncio.get_running_loop().time() + LATE_ITEM_TIMEOUT_S, late)
            self._wake()

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _release(self) -> None:
        self._receiver.forget(self._number)
        for timer in self._timers:
            timer.cancel()
