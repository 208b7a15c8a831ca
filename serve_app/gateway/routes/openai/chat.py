"""OpenAI's chat completions, whole and streamed."""

import json
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from deployments.capabilities import Delta, Reply, ToolCall
from deployments.errors import MedleyError

from ...error_responses import openai_error
from ...json_body import read_json
from ...openapi_parts import JSON, SSE, TEXT, answer_in, ref
from ...server_sent_events import begun, event
from ...service import Service
from ...sync_run import SyncRun
from .chat_body import ChatCompletion
from .shared import body_event, described, names, prepare

# Of the chat graph's fields
OPENAI_NAMES = {"json_schema": "response_format", "adapter": "model", "image": "image_url", "audio": "input_audio"}


ANSWER = answer_in("The reply, or with `stream` its chunks", {JSON: ref("ChatCompletion"), SSE: TEXT})
CHAT = described(ChatCompletion, {200: ANSWER})


def add(routes: APIRouter, service: Service) -> None:
    limits = service.config.gateway
    limit, text_limit = limits.body_limit(holds_media=True), limits.body_limit(holds_media=False)
    chat = service.graph("chat")

    @routes.post("/chat/completions", summary="Create a chat completion", openapi_extra=CHAT)
    async def create_chat_completion(request: Request) -> Response:
        body = await read_json(request, ChatCompletion, *limit, text_limit=text_limit)
        model, _, adapter = body.model.partition(":")  # no model's name has a colon
        fields: dict[str, Any] = {**body.fields(), "adapter": adapter or None}
        with names(OPENAI_NAMES):
            run = await prepare(
                request, service, chat, "writer", model, streams=body.stream, holds_media=body.holds_media, **fields
            )
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
        if body.stream:
            return await begun(_chunks(run, adapter, {**head, "object": "chat.completion.chunk"}, body))
        with names(OPENAI_NAMES):
            reply: Reply = await run.answer()
        message: dict[str, Any] = {"role": "assistant", "content": reply.text}
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.tool_calls:
            message |= {"content": reply.text or None, "tool_calls": _calls(reply.tool_calls, body)}
        head |= {"object": "chat.completion", "model": _model(run, adapter)}
        choices = [{"index": 0, "message": message, "finish_reason": reply.finish_reason}]
        usage = _usage(reply.prompt_tokens, reply.completion_tokens)
        return JSONResponse({**head, "choices": choices, "usage": usage})


async def _chunks(run: SyncRun, adapter: str, head: dict[str, Any], body: ChatCompletion) -> AsyncGenerator[str]:
    """Server-sent events of a reply as it is written; an error after the first event is an event too."""
    prompt_tokens = completion_tokens = 0
    head["model"], opening = "", ""
    try:
        delta: Delta
        with names(OPENAI_NAMES):
            async with aclosing(run.pieces()) as pieces:
                async for delta in pieces:
                    if opening and not (delta.tool_calls or delta.finish_reason or delta.reasoning):
                        yield _text_event(opening, delta.text)
                        continue
                    content: dict[str, Any] = {"content": delta.text}
                    if delta.reasoning:
                        content["reasoning_content"] = delta.reasoning
                    if not opening:
                        head["model"], content["role"] = _model(run, adapter), "assistant"
                        opening = json.dumps(head)[:-1]
                    if delta.tool_calls:
                        calls = _calls(delta.tool_calls, body)
                        content["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
                    if delta.finish_reason:
                        prompt_tokens, completion_tokens = delta.prompt_tokens, delta.completion_tokens
                    choice = {"index": 0, "delta": content, "finish_reason": delta.finish_reason}
                    yield body_event({**head, "choices": [choice]})
        if body.stream_options.include_usage:
            yield body_event({**head, "choices": [], "usage": _usage(prompt_tokens, completion_tokens)})
        yield event("[DONE]")
    except MedleyError as error:
        if not head["model"]:
            raise
        yield body_event(openai_error(error)[1])


def _text_event(opening: str, text: str) -> str:
    """The event of a piece of text. There is one for each token, and `body_event` would take five times as long."""
    choice = f'{{"index": 0, "delta": {{"content": {json.dumps(text)}}}, "finish_reason": null}}'
    return f'data: {opening}, "choices": [{choice}]}}\n\n'


def _calls(calls: list[ToolCall], body: ChatCompletion) -> list[dict[str, Any]]:
    """Calls in OpenAI's form; only the first if the client refuses parallel calls."""
    accepted = calls[:1] if body.parallel_tool_calls is False else calls
    functions = [(call.id, {"name": call.name, "arguments": call.arguments}) for call in accepted]
    return [{"id": call_id, "type": "function", "function": function} for call_id, function in functions]


def _model(run: SyncRun, adapter: str) -> str:
    """The name of the model that answered, in the form that a client can send as `model`."""
    model = run.run.steps[-1].model
    return f"{model}:{adapter}" if adapter else model


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
