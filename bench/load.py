"""The load generator, a separate process: N connections, each of which sends a request when the last was answered.

It uses plain asyncio protocols over prepared bytes, since it shares the machine with the server.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Tally:
    """The durations of successful requests, and the number of errors."""

    seconds: list[float] = field(default_factory=list[float])
    errors: int = 0


class Client(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, request: bytes, until: float, tally: Tally, done: asyncio.Future[None]) -> None:
        self.request, self.until, self.tally, self.done = request, until, tally, done
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[:end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        now = time.perf_counter()
        if head.startswith(b"http/1.1 200"):
            self.tally.seconds.append(now - self.sent)
        else:
            self.tally.errors += 1
        self.buffer.clear()
        if now < self.until:
            self.send()
        else:
            self.transport.close()
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.tally.errors += 1
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(url: str, connections: int, seconds: float, headers: list[str], body: str | None) -> dict[str, float]:
    """Successful requests per second, errors, and the median and 99th percentile in milliseconds."""
    parts = urlsplit(url)
    lines = [f"{'POST' if body else 'GET'} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body.encode())}"]
    request = ("\r\n".join(lines) + "\r\n\r\n" + (body or "")).encode()
    tally = Tally()
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    futures = [loop.create_future() for _ in range(connections)]
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    for future in futures:
        await loop.create_connection(lambda future=future: Client(request, began + seconds, tally, future), host, port)
    await asyncio.wait_for(asyncio.gather(*futures), seconds + 30)
    took = time.perf_counter() - began
    ordered = sorted(tally.seconds) or [0.0]
    return {
        "per_second": len(tally.seconds) / took,
        "errors": tally.errors,
        "p50_ms": statistics.median(ordered) * 1000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("url")
    arguments.add_argument("--connections", type=int, default=16)
    arguments.add_argument("--seconds", type=float, default=3)
    arguments.add_argument("--header", action="append", default=[])
    arguments.add_argument("--body")
    options = arguments.parse_args()
    print(
        json.dumps(asyncio.run(load(options.url, options.connections, options.seconds, options.header, options.body)))
    )
