"""Chat completions, whole and as they are written."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from deployments.capabilities import Delta, Language, Message
from deployments.errors import MedleyError
from graphs.chat import chat

from ...errors import NotOffered
from ...responses import openai_error
from ...run import Run
from .shared import DEFAULT_MODEL, body_of, json_body, prepare

if TYPE_CHECKING:
    from ...gateway import Service


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] = Field(max_length=32_000)

    def message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=text)


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatCompletion(BaseModel):
    model: str = DEFAULT_MODEL
    messages: list[ChatMessage] = Field(min_length=1, max_length=200)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Literal[1] | None = 1
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    stop: str | list[str] | None = None
    seed: int | None = Field(None, ge=0)
    tools: list[Any] | None = None
    response_format: dict[str, Any] | None = None


def add(routes: APIRouter, service: "Service") -> None:
    @routes.post("/chat/completions", summary="Create a chat completion", openapi_extra=body_of(ChatCompletion))
    async def chat_completions(request: Request) -> Response:
        asked = await json_body(request, ChatCompletion)
        if asked.tools or (asked.response_format or {}).get("type", "text") != "text":
            raise NotOffered("This model has neither tools nor response formats other than text.")
        run, call = await prepare(
            service,
            chat,
            "writer",
            asked.model,
            messages=[message.message() for message in asked.messages],
            max_tokens=asked.max_completion_tokens or asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            stop=[asked.stop] if isinstance(asked.stop, str) else asked.stop,
            seed=asked.seed,
        )
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
        if asked.stream:
            chunks = _chat_chunks(run, call, {**head, "object": "chat.completion.chunk"}, asked.stream_options)
            first = await anext(chunks)  # an error before the first token still has its own status
            return StreamingResponse(_all(first, chunks), media_type="text/event-stream")
        reply = await run.execute(chat, call)
        message = {"role": "assistant", "content": reply.text}
        head |= {"object": "chat.completion", "model": run.steps[-1].model}
        choices = [{"index": 0, "message": message, "finish_reason": reply.finish_reason}]
        usage = _usage(reply.prompt_tokens, reply.completion_tokens)
        return JSONResponse({**head, "choices": choices, "usage": usage})


async def _chat_chunks(run: Run, call: Any, head: dict[str, Any], options: StreamOptions) -> AsyncIterator[str]:
    """Server-sent events of a reply as it is written; an error after the first is an event too."""
    fields = call.model_dump(exclude={"messages"})
    prompt_tokens = completion_tokens = 0
    head["model"] = ""
    try:
        begun = False
        delta: Delta
        async for delta in run.model("writer", Language).stream(call.messages, **fields):
            head["model"] = run.steps[-1].model
            content: dict[str, Any] = {"content": delta.text} if begun else {"role": "assistant", "content": delta.text}
            begun = True
            if delta.finish_reason:
                prompt_tokens, completion_tokens = delta.prompt_tokens, delta.completion_tokens
            yield _event({**head, "choices": [{"index": 0, "delta": content, "finish_reason": delta.finish_reason}]})
        if options.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(prompt_tokens, completion_tokens)})
        yield "data: [DONE]\n\n"
    except MedleyError as error:
        if not head["model"]:
            raise
        yield _event(openai_error(error)[1])


async def _all(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for item in rest:
        yield item


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
