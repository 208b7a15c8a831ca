"""Attacks on a Medley on loopback, one per run, bounded in number and time: python -m bench.attacks NAME URL KEY

Prints the statuses and the size of the largest answer as JSON. Each is a small input that once stopped the gateway.
"""

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

CONNECTIONS, BODIES, UPLOADS = 4100, 1000, 6
HELD_S = 15.0  # for which connections are held that the service does not close
CHAIN = "/api/v1/graphs/chain"
UNFINISHED = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"


@dataclass
class Tally:
    """The answers to an attack."""

    statuses: Counter[int] = field(default_factory=Counter[int])
    largest: int = 0  # bytes

    def add(self, answer: httpx.Response) -> None:
        self.statuses[answer.status_code] += 1
        self.largest = max(self.largest, len(answer.content))


@dataclass(frozen=True)
class Target:
    """The service that is attacked."""

    url: str
    key: str

    def client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)


async def unfinished_headers(target: Target, tally: Tally, count: int = CONNECTIONS) -> None:
    """Connections without a key whose headers never end."""
    await _held(target, b"GET /ready HTTP/1.1\r\nHost: localhost\r\nX-A: ", tally, count)


async def slow_bodies(target: Target, tally: Tally, count: int = BODIES) -> None:
    """Requests with a key whose bodies never end."""
    head = f"POST {CHAIN} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {target.key}\r\n"
    await _held(
        target, f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{".encode(), tally, count
    )


async def keyless_bodies(target: Target, tally: Tally, count: int = BODIES) -> None:
    """Requests without a key whose bodies never end."""
    head = (
        f"POST {CHAIN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    )
    await _held(target, head.encode(), tally, count)


async def unknown_keys(target: Target, tally: Tally) -> None:
    """A hundred thousand fields that the graph does not have."""
    await _posted(target, tally, json.dumps({f"key{number}": number for number in range(100_000)}))


async def empty_lists(target: Target, tally: Tally) -> None:
    """Fifteen megabytes of empty lists."""
    await _posted(target, tally, '{"text": [' + "[]," * 5_000_000 + "[]]}")


async def lists_within_the_limit(target: Target, tally: Tally) -> None:
    """As many empty lists as a body without media can hold."""
    await _posted(target, tally, '{"text": [' + "[]," * 2_600_000 + "[]]}")


async def scans(target: Target, tally: Tally) -> None:
    """Progressive JPEGs with hundreds of scans."""
    from tests.media.pictures import many_scans

    await _uploaded(target, tally, many_scans(700, (3000, 3000)), "image/jpeg")


async def costly_scans(target: Target, tally: Tally) -> None:
    """Progressive JPEGs with as much work as is accepted."""
    from tests.media.pictures import many_scans

    await _uploaded(target, tally, many_scans(95, (2000, 2000)), "image/jpeg")


async def false_times(target: Target, tally: Tally) -> None:
    """Recordings whose time stamps are a lie."""
    from tests.media.recordings import false_times, repeated

    await _uploaded(target, tally, false_times("matroska"), "audio/x-matroska")
    await _uploaded(target, tally, repeated("matroska", 4096, 3000), "audio/x-matroska")


ATTACKS: dict[str, Callable[[Target, Tally], Coroutine[Any, Any, None]]] = {
    attack.__name__: attack
    for attack in (
        unfinished_headers,
        slow_bodies,
        keyless_bodies,
        unknown_keys,
        empty_lists,
        lists_within_the_limit,
        scans,
        costly_scans,
        false_times,
    )
}


async def _held(target: Target, start: bytes, tally: Tally, count: int) -> None:
    """Open connections, send the beginning of a request on each, and hold them until the service answers or closes."""
    address = urlsplit(target.url)

    async def hold() -> None:
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writers.append(writer)
            async with asyncio.timeout(HELD_S):
                writer.write(start)
                answer = await reader.read(100_000)
                status = answer.split(b" ", 2)[1:2]
                tally.statuses[int(status[0]) if status and status[0].isdigit() else 0] += 1
                tally.largest = max(tally.largest, len(answer))

    writers = list[asyncio.StreamWriter]()
    await asyncio.gather(*(hold() for _ in range(count)))
    for writer in writers:
        writer.close()


async def _posted(target: Target, tally: Tally, body: str) -> None:
    async with target.client() as client:
        tally.add(await client.post(CHAIN, content=body))


async def _uploaded(target: Target, tally: Tally, data: bytes, media_type: str) -> None:
    async def upload() -> None:
        tally.add(await client.post("/api/v1/artifacts", content=data, headers={"content-type": media_type}))

    async with target.client() as client:
        await asyncio.gather(*(upload() for _ in range(UPLOADS)))


if __name__ == "__main__":
    name, url, key = sys.argv[1:]
    answers = Tally()
    asyncio.run(ATTACKS[name](Target(url, key), answers))
    print(json.dumps({"statuses": dict(answers.statuses), "largest": answers.largest}))
