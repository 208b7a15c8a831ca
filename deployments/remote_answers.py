"""Answers of providers: read to a bound, whole or line by line, and what their errors say."""

import json
from collections.abc import AsyncIterator

import httpx

from .errors import ModelUnavailable

MB = 1024 * 1024
MOST_TEXT = 8 * MB  # bytes of an answer in JSON, or of a whole stream
MOST_MEDIA = 64 * MB  # bytes of a picture or a recording
LONGEST_LINE = MB  # bytes of one line of a stream


async def bounded_body(response: httpx.Response, most: int) -> bytes:
    """The whole body of a response that is being streamed.

    Raises:
        ModelUnavailable: it has more than `most` bytes.
    """
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > most:
            raise ModelUnavailable(f"{response.url.host} sent more than the {most:,} bytes that are accepted")
    return bytes(body)


async def lines_of(response: httpx.Response) -> AsyncIterator[str]:
    """Lines by LF or CRLF, as they come; httpx's own would keep an endless one in memory."""
    rest, seen = b"", 0
    async for piece in response.aiter_bytes():
        seen += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r").decode("utf-8", "replace")
        if len(rest) > LONGEST_LINE or seen > MOST_TEXT:
            raise ModelUnavailable(f"{response.url.host} sent more than is accepted")
    if rest:
        yield rest.decode("utf-8", "replace")


def error_of(body: bytes) -> tuple[str, str | None]:
    """What an error's body says, and the argument it names. Providers write it in every way there is."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return "", None  # a proxy's page
    outer = parsed if isinstance(parsed, dict) else {}
    inner = outer.get("error") or outer.get("problem")
    if not isinstance(inner, dict):
        inner = {**outer, "message": inner or outer.get("message") or outer.get("detail")}
    message, argument = inner.get("message"), inner.get("param")
    invalid = inner.get("invalid_params")  # Freepik's: [{"name": ..., "reason": ...}]
    if isinstance(invalid, list) and invalid and isinstance(invalid[0], dict):
        argument, message = invalid[0].get("name"), invalid[0].get("reason") or message
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False) if message else ""
    return text, argument if isinstance(argument, str) and argument else None
