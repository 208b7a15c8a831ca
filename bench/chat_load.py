"""The load generator for chat completions, a separate process with N callers over plain sockets.

It prints tokens per second over all callers, and the median time to the first token in milliseconds.
"""

import argparse
import asyncio
import json
import re
import statistics
import time
from urllib.parse import urlsplit

SUBJECTS = (
    "a fox",
    "two ships",
    "an old clock",
    "a lighthouse",
    "the last train",
    "a small robot",
    "a garden",
    "a map",
)
COUNTED = re.compile(rb'"completion_tokens": ?(\d+)')
CONTENT = re.compile(rb'"content": ?"[^"]')


async def ask(url: str, headers: list[str], body: bytes, stream: bool) -> tuple[int, float]:
    """Send a request on a new connection; returns completion tokens, and seconds to the first token (or to the end)."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json", *headers]
    lines += [f"Content-Length: {len(body)}", "Connection: close"]
    began, first, answer = time.perf_counter(), 0.0, bytearray()
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        while data := await reader.read(1 << 16):
            answer += data
            if not first and (not stream or CONTENT.search(data)):
                first = time.perf_counter() - began
            if b"[DONE]" in data:
                break
    finally:
        writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer[:500].decode(errors="replace"))
    return int(COUNTED.findall(bytes(answer))[-1]), first


async def load(url: str, model: str, headers: list[str], callers: int, each: int, stream: bool, tokens: int) -> None:
    firsts, counted = list[float](), list[int]()

    async def caller(number: int) -> None:
        for turn in range(each):
            subject = SUBJECTS[(number + turn) % len(SUBJECTS)]
            request = {
                "model": model,
                "messages": [{"role": "user", "content": f"Tell a story in 6 scenes about {subject}."}],
                "temperature": 0,
                "max_tokens": tokens,
                "stream": stream,
                **({"stream_options": {"include_usage": True}} if stream else {}),
            }
            made, first = await ask(url, headers, json.dumps(request).encode(), stream)
            counted.append(made)
            firsts.append(first)

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    took = time.perf_counter() - began
    print(
        json.dumps(
            {
                "tokens_per_second": sum(counted) / took,
                "first_ms": statistics.median(firsts) * 1000,
                "tokens": sum(counted),
            }
        )
    )


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("url")
    arguments.add_argument("model")
    arguments.add_argument("--header", action="append", default=[])
    arguments.add_argument("--callers", type=int, default=1)
    arguments.add_argument("--each", type=int, default=4)
    arguments.add_argument("--tokens", type=int, default=200)
    arguments.add_argument("--stream", action="store_true")
    options = arguments.parse_args()
    asyncio.run(
        load(options.url, options.model, options.header, options.callers, options.each, options.stream, options.tokens)
    )
