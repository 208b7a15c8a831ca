"""Chat completions, whole and as they are written."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from deployments.capabilities import Delta, Language, ToolCall
from deployments.errors import MedleyError
from graphs.chat import chat

from ....run import Run
from ...error_responses import openai_error
from .chat_body import ChatCompletion
from .shared import body_of, chain, event, json_body, names, prepare

if TYPE_CHECKING:
    from ...service import Service


OPENAIS = {"json_schema": "response_format", "adapter": "model"}  # our fields in OpenAI's words


def add(routes: APIRouter, service: "Service") -> None:
    @routes.post("/chat/completions", summary="Create a chat completion", openapi_extra=body_of(ChatCompletion))
    async def chat_completions(request: Request) -> Response:
        asked = await json_body(request, ChatCompletion)
        model, _, adapter = asked.model.partition(":")  # no model's name has a colon
        with names(OPENAIS):
            run, call = await prepare(service, chat, "writer", model, **asked.fields(), adapter=adapter or None)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
        if asked.stream:
            chunks = _chat_chunks(run, call, {**head, "object": "chat.completion.chunk"}, asked)
            first = await anext(chunks)  # an error before the first token still has its own status
            return StreamingResponse(chain(first, chunks), media_type="text/event-stream")
        with names(OPENAIS):
            reply = await run.execute(chat, call)
        message: dict[str, Any] = {"role": "assistant", "content": reply.text}
        if reply.tool_calls:
            message |= {"content": reply.text or None, "tool_calls": _calls(reply.tool_calls, asked)}
        head |= {"object": "chat.completion", "model": _model(run, adapter)}
        choices = [{"index": 0, "message": message, "finish_reason": reply.finish_reason}]
        usage = _usage(reply.prompt_tokens, reply.completion_tokens)
        return JSONResponse({**head, "choices": choices, "usage": usage})


async def _chat_chunks(run: Run, call: Any, head: dict[str, Any], asked: ChatCompletion) -> AsyncIterator[str]:
    """Server-sent events of a reply as it is written; an error after the first is an event too."""
    fields = {name: getattr(call, name) for name in chat.request.model_fields if name != "messages"}
    prompt_tokens = completion_tokens = 0
    head["model"], opening = "", ""
    try:
        delta: Delta
        with names(OPENAIS):
            async for delta in run.model("writer", Language).stream(call.messages, **fields):
                if opening and not delta.tool_calls and not delta.finish_reason:
                    yield _text_event(opening, delta.text)
                    continue
                content: dict[str, Any] = {"content": delta.text}
                if not opening:
                    head["model"], content["role"] = _model(run, call.adapter), "assistant"
                    opening = json.dumps(head)[:-1]
                if delta.tool_calls:
                    calls = _calls(delta.tool_calls, asked)
                    content["tool_calls"] = [{"index": index, **made} for index, made in enumerate(calls)]
                if delta.finish_reason:
                    prompt_tokens, completion_tokens = delta.prompt_tokens, delta.completion_tokens
                yield event({**head, "choices": [{"index": 0, "delta": content, "finish_reason": delta.finish_reason}]})
        if asked.stream_options.include_usage:
            yield event({**head, "choices": [], "usage": _usage(prompt_tokens, completion_tokens)})
        yield "data: [DONE]\n\n"
    except MedleyError as error:
        if not head["model"]:
            raise
        yield event(openai_error(error)[1])


def _text_event(opening: str, text: str) -> str:
    """The event of a piece of text, as `event` would make it in five times the time; there is one for each token."""
    choice = f'{{"index": 0, "delta": {{"content": {json.dumps(text)}}}, "finish_reason": null}}'
    return f'data: {opening}, "choices": [{choice}]}}\n\n'


def _calls(calls: list[ToolCall], asked: ChatCompletion) -> list[dict[str, Any]]:
    """Calls in OpenAI's form; the first alone where the client wants one at a time."""
    wanted = calls[:1] if asked.parallel_tool_calls is False else calls
    functions = [(call.id, {"name": call.name, "arguments": call.arguments}) for call in wanted]
    return [{"id": made, "type": "function", "function": function} for made, function in functions]


def _model(run: Run, adapter: str | None) -> str:
    """The model that answered, as it can be asked for again."""
    return f"{run.steps[-1].model}:{adapter}" if adapter else run.steps[-1].model


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
