"""A real HTTP server on loopback that acts as a provider, with faults on demand; one speaks OpenAI's protocol."""

import asyncio
import json
import os
import random
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import uvicorn

KEY_VARIABLE = "MEDLEY_TESTS_PROVIDER_KEY"
KEY = "sk-tests-0123456789abcdef"
CONTEXT = 5000  # tokens of the language model
SLOW = 3.0  # seconds that a slow answer takes, for those who do not wait for it


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What is answered: a body, or pieces one after the other. `final`: nothing is left to do for the caller's call."""

    body: bytes | AsyncIterator[bytes]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    final: bool = True

    @classmethod
    def of(cls, value: Any, status: int = 200, **more: Any) -> "Answer":
        return cls(json.dumps(value).encode(), status, **more)


def status(code: int, message: str = "try later", **headers: str) -> Answer:
    """A fault: an error as providers write it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer.of({"error": {"message": message, "param": None}}, code, headers=named)


HANG = "hang"  # a fault: no answer
HALF = "half"  # a fault: the first half of the right answer, then the connection is cut
MALFORMED = Answer(b'{"choices": [{"mess')


class LocalProvider:
    """An ASGI application with its server in a thread.

    `faults` are taken first, one a request; `asked` has every request. `watch`, if there is one, is told when a call's
    work began and when it was over: done, or the caller's connection closed.
    """

    def __init__(self, answer: Callable[[Asked], Awaitable[Answer]], key_header: str = "authorization") -> None:
        os.environ[KEY_VARIABLE] = KEY
        self.faults: deque[Answer | str] = deque()
        self.asked: list[Asked] = []
        self.watch: Any = None
        self._answer = answer
        self._key_header = key_header
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(self, log_level="critical", log_config=None, lifespan="off", timeout_keep_alive=60)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)

    def close(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(5)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, message = b"", {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = Asked(scope["method"], scope["path"], headers, body)
        self.asked.append(asked)
        watch = self.watch
        if watch:
            watch.started.set()
        work = asyncio.ensure_future(self._work(asked, send))
        gone = asyncio.ensure_future(receive())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        left = not work.done()
        for task in (work, gone):
            task.cancel()
        try:
            final = await work
        except asyncio.CancelledError:
            final = left
        finally:
            if watch and (left or final):
                watch.ended.set()

    async def _work(self, asked: Asked, send: Any) -> bool:
        fault = self.faults.popleft() if self.faults else None
        if fault == HANG:
            await asyncio.Event().wait()
        if isinstance(fault, Answer):
            answer = fault
        elif KEY not in asked.headers.get(self._key_header, "") and "/pictures/" not in asked.path:
            answer = status(401, f"Incorrect API key provided: {asked.headers.get(self._key_header)}")
        else:
            answer = await self._answer(asked)
        await _send(answer, send, half=fault == HALF)
        return answer.final


async def _send(answer: Answer, send: Any, *, half: bool) -> None:
    pieces = answer.body
    headers = dict(answer.headers)
    if isinstance(pieces, bytes):
        headers["content-length"] = str(len(pieces))
    listed = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": listed})
    if isinstance(pieces, bytes):
        pieces = _once(pieces[: len(pieces) // 2] if half else pieces)
    sent = 0
    async for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        sent += 1
        if half and sent > 8:  # of a stream
            break
    if half:
        raise ConnectionAbortedError("as the fault says")  # the server closes the connection
    await send({"type": "http.response.body", "body": b""})


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def chat(asked: Asked) -> Answer:
    """`POST /v1/chat/completions` of a model that writes letters at random, as its seed decides."""
    body = asked.json
    messages = body["messages"]
    count = sum(len(message["content"]) + 8 for message in messages)
    most = body.get("max_tokens", 20)
    if body["model"] not in ("letters", "other"):
        return Answer.of({"error": {"message": f"{body['model']} is not a valid model ID"}}, 400)
    if count + most > CONTEXT:
        said = f"This model's maximum context length is {CONTEXT} tokens; you asked for {count + most}."
        return Answer.of({"error": {"message": said, "param": None, "code": "context_length_exceeded"}}, 400)
    tokens, reason = _letters(body, most)
    usage = {"prompt_tokens": count, "completion_tokens": len(tokens), "total_tokens": count + len(tokens)}
    stops = [place for stop in body.get("stop", []) if (place := "".join(tokens).find(stop)) >= 0]
    if stops:
        tokens, reason = tokens[: min(stops)], "stop"  # a token is a character
        usage["completion_tokens"] = len(tokens)
    slow = most >= 1000
    if body.get("stream"):
        return Answer(_events(tokens, reason, usage, slow), headers={"content-type": "text/event-stream"})
    if slow:
        await asyncio.sleep(SLOW)
    message = {"role": "assistant", "content": "".join(tokens)}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return Answer.of({"object": "chat.completion", "choices": [choice], "usage": usage})


def _letters(body: dict[str, Any], most: int) -> tuple[list[str], str]:
    temperature, top_p = body.get("temperature", 1), body.get("top_p", 1)
    decides: list[Any] = [body["model"], body["messages"]]
    if temperature > 0 and top_p > 0.01:
        decides += [temperature, top_p, body.get("seed", random.random())]
    draw = random.Random(json.dumps(decides))
    return draw.choices("abcdefghijklm  éß😀", k=most), "length"


async def _events(tokens: list[str], reason: str, usage: dict[str, int], slow: bool) -> AsyncIterator[bytes]:
    events: list[Any] = [{"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}]
    events += [{"choices": [{"delta": {"content": token}, "finish_reason": None}]} for token in tokens]
    events += [{"choices": [{"delta": {}, "finish_reason": reason}]}, {"choices": [], "usage": usage}]
    yield b": still alive\n\n"
    for event in events:
        data = b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\r\n\r\n"
        half = len(data) // 2  # lines, and characters of several bytes, come in pieces
        yield data[:half]
        yield data[half:]
        await asyncio.sleep(0.002 if slow else 0)
    yield b"data: [DONE]\n\n"


@cache
def chat_provider() -> LocalProvider:
    """The one for the contracts, started when it is first wanted."""
    return LocalProvider(chat)
