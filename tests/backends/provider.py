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

import jsonschema
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
BROKEN = "broken"  # a fault: the work is done, and 500 is answered
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
        self.answer: Any = answer
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
            answer = await self.answer(asked)
            if fault == BROKEN:
                answer = status(500, "out of order")
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
    """`POST /v1/chat/completions` of a model that writes letters at random, as its seed decides.

    Where a schema is wanted it writes the simplest JSON that this allows. It calls each tool that it must, or, where it
    may, those that the last message names.
    """
    body = asked.json
    messages = body["messages"]
    count = sum(len(json.dumps(message)) - 22 for message in messages) + len(json.dumps(body.get("tools", "")))
    most = body.get("max_tokens", 20)
    if body["model"] not in ("letters", "other"):
        return Answer.of({"error": {"message": f"{body['model']} is not a valid model ID"}}, 400)
    if count + most > CONTEXT:
        said = f"This model's maximum context length is {CONTEXT} tokens; you asked for {count + most}."
        return Answer.of({"error": {"message": said, "param": None, "code": "context_length_exceeded"}}, 400)
    if param := _wrong(body):
        return Answer.of({"error": {"message": f"Invalid {param}", "param": param}}, 400)
    tokens, reason = _letters(body, most)
    calls = list[tuple[str, str]]()
    if "response_format" in body:
        tokens = list(json.dumps(simplest(body["response_format"]["json_schema"]["schema"])))
        tokens, reason = tokens[:most], "stop" if len(tokens) <= most else "length"
    for function in _called(body):
        arguments, left = json.dumps(simplest(function["parameters"])), most - sum(len(call[1]) for call in calls)
        calls.append((function["name"], arguments[:left]))
        reason = "tool_calls" if len(arguments) <= left else "length"
        tokens = []
    written = len(tokens) + sum(len(arguments) for _, arguments in calls)
    usage = {"prompt_tokens": count, "completion_tokens": written, "total_tokens": count + written}
    stops = [place for stop in body.get("stop", []) if (place := "".join(tokens).find(stop)) >= 0]
    if stops:
        tokens, reason = tokens[: min(stops)], "stop"  # a token is a character
        usage["completion_tokens"] = len(tokens)
    slow = most >= 1000
    if body.get("stream"):
        events = _events(tokens, calls, reason, usage, slow)
        return Answer(events, headers={"content-type": "text/event-stream"})
    if slow:
        await asyncio.sleep(SLOW)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(tokens)}
    if calls:
        made = [_call(number, name, arguments) for number, (name, arguments) in enumerate(calls)]
        message |= {"content": None, "tool_calls": made}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return Answer.of({"object": "chat.completion", "choices": [choice], "usage": usage})


def _wrong(body: dict[str, Any]) -> str | None:
    """The parameter that cannot be used, if there is one."""
    form = body.get("response_format", {"json_schema": {"schema": {}}})["json_schema"]
    schemas = {"response_format": [form["schema"]], "tools": [tool["function"]["parameters"] for tool in _tools(body)]}
    for param, listed in schemas.items():
        for schema in listed:
            try:
                jsonschema.Draft202012Validator.check_schema(schema)
            except jsonschema.SchemaError:
                return param
    if form.get("strict") and form["schema"].get("additionalProperties") is not False:
        return "response_format"  # as OpenAI has it
    asked = [call["id"] for message in body["messages"] for call in message.get("tool_calls", [])]
    answered = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    return "messages" if set(answered) - set(asked) else None


def _tools(body: dict[str, Any]) -> list[dict[str, Any]]:
    return body.get("tools", [])


def _called(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The functions that are called."""
    functions, choice = [tool["function"] for tool in _tools(body)], body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        return [function for function in functions if function["name"] == choice["function"]["name"]]
    return [f for f in functions if choice == "required" or f["name"] in body["messages"][-1]["content"]]


def _call(number: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def simplest(schema: dict[str, Any]) -> Any:
    """A value that the schema allows, of the kinds the contracts use."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        return {name: simplest(schema["properties"][name]) for name in schema.get("required", [])}
    return {"string": "", "integer": schema.get("minimum", 0)}[kind]


def _letters(body: dict[str, Any], most: int) -> tuple[list[str], str]:
    temperature, top_p = body.get("temperature", 1), body.get("top_p", 1)
    decides: list[Any] = [body["model"], body["messages"]]
    if temperature > 0 and top_p > 0.01:
        decides += [temperature, top_p, body.get("seed", random.random())]
    draw = random.Random(json.dumps(decides))
    return draw.choices("abcdefghijklm  éß😀", k=most), "length"


async def _events(
    tokens: list[str], calls: list[tuple[str, str]], reason: str, usage: dict[str, int], slow: bool
) -> AsyncIterator[bytes]:
    events: list[Any] = [{"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}]
    events += [{"choices": [{"delta": {"content": token}, "finish_reason": None}]} for token in tokens]
    for number, (name, arguments) in enumerate(calls):
        pieces = [_call(number, name, ""), *({"function": {"arguments": letter}} for letter in arguments)]
        deltas = [{"tool_calls": [{"index": number, **piece}]} for piece in pieces]
        events += [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
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
