"""The sender that posts the items of a replica's streams to the callers' stream receivers (`stream_receiver.py`)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from pydantic import BaseModel

from deployments.errors import ModelUnavailable

from ..errors import ReceiverUnreachable
from ..models.stream_receiver import Address, keep_alive

CONNECT_TIMEOUT_S = 2.0


class StreamSender:
    """The connections of one process to stream receivers."""

    def __init__(self) -> None:
        self._connections = dict[Address, asyncio.Task[_Connection]]()

    async def post(self, address: Address, number: int, items: AsyncIterator[BaseModel]) -> int:
        """Post each item as it comes; returns their number.

        Raises:
            ReceiverUnreachable: the stream receiver cannot be reached.
            ModelUnavailable: the connection broke; the next stream opens another.
        """
        sent, mark = 0, b"%d " % number
        async with aclosing(cast(Any, items)):
            connection = await self._connection(address)
            async for item in items:
                # pydantic's private serializer writes bytes; its public method makes a text first
                connection.send(mark + item.__pydantic_serializer__.to_json(item, exclude_defaults=True) + b"\n")
                sent += 1
        return sent

    async def _connection(self, address: Address) -> "_Connection":
        task = self._connections.get(address)
        if task is None or _is_lost(task):
            self._connections = {key: task for key, task in self._connections.items() if not _is_lost(task)}
            task = self._connections[address] = asyncio.create_task(_connect(address))
        return await asyncio.shield(task)


def _is_lost(connection: "asyncio.Task[_Connection]") -> bool:
    return connection.done() and (
        connection.cancelled() or connection.exception() is not None or connection.result().lost
    )


async def _connect(address: Address) -> "_Connection":
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await loop.create_connection(lambda: _Connection(address.token), address.host, address.port)
    except (OSError, TimeoutError) as error:
        raise ReceiverUnreachable(f"{address.host} cannot be reached: {error or type(error).__name__}") from None
    return connection


class _Connection(asyncio.Protocol):
    """A connection to a stream receiver. Lines sent in one turn of the event loop leave in one write."""

    def __init__(self, token: str) -> None:
        self._lines, self.lost = [token.encode() + b"\n"], False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        keep_alive(transport)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def send(self, line: bytes) -> None:
        """Send a line.

        Raises:
            ModelUnavailable: the connection is lost.
        """
        if self.lost:
            raise ModelUnavailable("the connection to the stream receiver is lost")
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(line)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._lines))
        self._lines.clear()
