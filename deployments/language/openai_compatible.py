"""Language models over OpenAI's chat protocol: OpenRouter, OpenAI, Anthropic's compatible endpoint, any vLLM."""

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Literal, Unpack

from pydantic import BaseModel, Field

from ..capabilities import ChatOptions, Delta, Language, Message, Reply, ToolCall
from ..errors import InvalidInput, ModelUnavailable
from ..messages import AudioPart, ImagePart, PartType, TextPart
from ..remote_http import VARIABLE, Blame, Connection, Remote, RemoteOptions
from .request import LEARNED, LanguageRequest
from .tools import CHOICES, call_id, described, is_json

PATH = "chat/completions"
PARTS: tuple[PartType, ...] = ("text", "image", "audio")
AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3"}
# The names of arguments that a provider's error may be about, in our terms.
OUR_NAMES = {"max_completion_tokens": "max_tokens", "response_format": "json_schema"}
BLAME = Blame("messages", {name: name for name in ("messages", *LEARNED)} | OUR_NAMES)


class OpenAICompatible(Remote, Language):
    """A model at a provider, by `POST {base_url}/chat/completions` (https://platform.openai.com/docs/api-reference/chat).

    It sends texts, pictures (as data URLs) and recordings (WAV or MP3), and takes text and calls of tools. What decides
    them, the seed too, is passed on as it is; how far a provider keeps to a seed, and which of the arguments and parts
    its model takes, is the provider's. A reply that is no JSON though a schema was asked for is an error: some
    providers leave out what they do not know. Tokens are as the provider counts them, 0 where it does not. What a model
    thinks aloud beside its content is its `reasoning`. A filter that stops the provider in the midst of a reply is an
    error, not a short reply.
    """

    class Options(RemoteOptions):
        """Which model, where, and what holds when the caller does not say."""

        model: str = Field(min_length=1, description="As the provider names it, e.g. openai/gpt-4o-mini")
        base_url: str = Field(
            "https://openrouter.ai/api/v1", description="What comes before /chat/completions; https, or loopback"
        )
        key_variable: str | None = Field(
            "OPENROUTER_API_KEY",
            pattern=VARIABLE,
            description="NAME of the environment variable that has the key; null for a server without keys",
        )
        max_tokens: int | None = Field(None, ge=1, description="If the caller names no number; the provider's own else")
        temperature: float | None = Field(None, ge=0, le=2, description="The provider's own by default")
        top_p: float | None = Field(None, gt=0, le=1, description="The provider's own by default")
        max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = Field(
            "max_tokens", description="What the provider calls it; OpenAI's newer models take the second only"
        )
        strict_schemas: bool = Field(
            True, description="Ask that schemas be kept; OpenAI then wants every property required, and no others"
        )
        usage_in_streams: bool = Field(True, description="Ask for token counts of streams; some providers refuse")

    async def chat(self, messages: list[Message], **options: Unpack[ChatOptions]) -> Reply:
        async with self._connected() as connection:
            request = LanguageRequest.checked(messages, options, LEARNED, PARTS)
            body = _body(connection.options, request)
            return await connection.ask("POST", PATH, lambda body: _reply(body, request), BLAME, json=body)

    async def stream(self, messages: list[Message], **options: Unpack[ChatOptions]) -> AsyncIterator[Delta]:
        """The reply as it is written. Closing the iterator closes the connection, at which a provider stops."""
        async with self._connected() as connection:
            request = LanguageRequest.checked(messages, options, LEARNED, PARTS)
            body = _body(connection.options, request) | {"stream": True}
            if connection.options.usage_in_streams:
                body["stream_options"] = {"include_usage": True}
            usage, reason, text, calls = _Usage(), None, "", _Calls()
            async with aclosing(_chunks(connection, body)) as chunks:
                async for chunk in chunks:
                    usage = chunk.usage or usage
                    for choice in chunk.choices[:1]:
                        if choice.finish_reason:
                            reason = choice.finish_reason
                        calls.take(choice.delta.tool_calls or [])
                        said, thought = choice.delta.content or "", choice.delta.thought
                        text += said
                        if said or thought:
                            yield Delta(text=said, reasoning=thought)
            if reason is None:
                raise ModelUnavailable(f"{connection.host} broke off its answer")
            end = _end(request, text, reason, calls.whole(request))
            yield Delta(text="", **end, **usage.model_dump())


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Function(BaseModel):
    name: str | None = None
    arguments: str | None = None


class _Call(BaseModel):
    """A call, or in a stream the next piece of the one with this index."""

    index: int | None = None
    id: str | None = None
    function: _Function = _Function()


class _Said(BaseModel):
    content: str | None = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # OpenRouter's name for the same

    @property
    def thought(self) -> str:
        return self.reasoning_content or self.reasoning or ""


class _Choice(BaseModel):
    message: _Said
    finish_reason: str | None = None


class _Completion(BaseModel):
    """The answer to a call that does not stream, as far as it is used."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class _Piece(BaseModel):
    delta: _Said = _Said()
    finish_reason: str | None = None


class _Chunk(BaseModel):
    """One event of a stream, as far as it is used; the one with the usage has no choices."""

    choices: list[_Piece] = []
    usage: _Usage | None = None
    error: Any = None


class _Calls:
    """Calls put together from their pieces."""

    def __init__(self) -> None:
        self._calls: dict[int, list[str]] = {}  # by index: id, name, arguments

    def take(self, pieces: list[_Call]) -> None:
        for number, piece in enumerate(pieces):
            call = self._calls.setdefault(number if piece.index is None else piece.index, ["", "", ""])
            call[0] = call[0] or piece.id or ""
            call[1] = call[1] or piece.function.name or ""
            call[2] += piece.function.arguments or ""

    def whole(self, request: LanguageRequest) -> list[ToolCall]:
        """Those that were not cut in their midst."""
        calls: list[ToolCall] = []
        for number, (given, name, arguments) in sorted(self._calls.items()):
            arguments = arguments or "{}"  # what some send for a tool without parameters
            if name and is_json(arguments):
                made = given or call_id(request.messages, number, name, arguments)
                calls.append(ToolCall(id=made, name=name, arguments=arguments))
        return calls


def _body(options: OpenAICompatible.Options, request: LanguageRequest) -> dict[str, Any]:
    """The body of the request. What nobody decides is left out: not every provider takes every argument."""
    named = {"type": "function", "function": {"name": request.tool_choice}}
    form = {"name": "reply", "schema": request.json_schema, "strict": options.strict_schemas}
    body = {
        "model": options.model,
        "messages": [_sent(message) for message in request.messages],
        options.max_tokens_name: request.max_tokens or options.max_tokens,
        "temperature": options.temperature if request.temperature is None else request.temperature,
        "top_p": request.top_p or options.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
        "presence_penalty": request.presence_penalty or None,
        "frequency_penalty": request.frequency_penalty or None,
        "logit_bias": {str(token): bias for token, bias in request.logit_bias.items()} or None,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "tools": [described(tool) for tool in request.tools] or None,
        "tool_choice": (request.tool_choice if request.tool_choice in CHOICES else named) if request.tools else None,
        "response_format": None if request.json_schema is None else {"type": "json_schema", "json_schema": form},
    }
    return {name: value for name, value in body.items() if value is not None}


def _sent(message: Message) -> dict[str, Any]:
    content = message.content if isinstance(message.content, str) else [_sent_part(part) for part in message.parts]
    sent: dict[str, Any] = {"role": message.role, "content": content}
    if message.name is not None:
        sent["name"] = message.name
    if message.tool_calls:
        calls = [(call.id, {"name": call.name, "arguments": call.arguments}) for call in message.tool_calls]
        sent["tool_calls"] = [{"id": made, "type": "function", "function": function} for made, function in calls]
    if message.tool_call_id is not None:
        sent["tool_call_id"] = message.tool_call_id
    return sent


def _sent_part(part: TextPart | ImagePart | AudioPart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": part.image.url}}
    kind = AUDIO_FORMATS.get(part.audio.media_type)
    if kind is None:
        raise InvalidInput("messages", f"have a recording as {part.audio.media_type}; this model takes WAV and MP3")
    data = base64.b64encode(part.audio.data).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}


def _reply(body: bytes, request: LanguageRequest) -> Reply:
    answer = _Completion.model_validate_json(body)
    choice, usage = answer.choices[0], answer.usage or _Usage()
    text, calls = choice.message.content or "", _Calls()
    calls.take([call.model_copy(update={"index": None}) for call in choice.message.tool_calls or []])
    return Reply(
        text=text,
        reasoning=choice.message.thought,
        **_end(request, text, choice.finish_reason, calls.whole(request)),
        **usage.model_dump(),
    )


def _end(request: LanguageRequest, text: str, reason: str | None, calls: list[ToolCall]) -> dict[str, Any]:
    """A reply's calls and why it ended.

    Raises:
        InvalidInput: a filter ended it.
        ModelUnavailable: it is not of the form that was asked for.
    """
    if reason == "content_filter":
        raise InvalidInput("messages", "were stopped by the provider's content filter")
    if reason != "length" and not calls:
        if request.forced:
            raise ModelUnavailable("the provider made no call, though tool_choice wants one")
        if request.json_schema is not None and not request.stop and not is_json(text):
            raise ModelUnavailable("the provider's reply is no JSON, though json_schema wants it")
    return {"tool_calls": calls, "finish_reason": "length" if reason == "length" else "tool_calls" if calls else "stop"}


async def _chunks(connection: Connection, body: dict[str, Any]) -> AsyncGenerator[_Chunk, None]:
    """The events of a stream. One line is one event in OpenAI's protocol.

    Raises:
        ModelUnavailable: an event is not of the protocol, or says that the provider failed.
    """
    async with aclosing(connection.lines(PATH, BLAME, json=body)) as lines:
        async for line in lines:
            if not line.startswith("data:"):
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            try:
                chunk = _Chunk.model_validate_json(data)
            except ValueError:
                raise ModelUnavailable(f"{connection.host} sent what its protocol does not have") from None
            if chunk.error:
                raise ModelUnavailable(f"{connection.host} failed in the midst of its answer")
            yield chunk
