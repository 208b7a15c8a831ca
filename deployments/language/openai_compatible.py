"""Language models over OpenAI's chat protocol: OpenRouter, OpenAI, Anthropic's compatible endpoint, any vLLM."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

from pydantic import BaseModel, Field

from ..capabilities import Delta, Language, Message, Reply
from ..errors import InvalidInput, ModelUnavailable
from ..remote_http import VARIABLE, Blame, Connection, Remote, RemoteOptions
from .asking import Asked

PATH = "chat/completions"
BLAME = Blame(
    "messages",
    {name: name for name in ("messages", "temperature", "top_p", "stop", "seed", "max_tokens")}
    | {"max_completion_tokens": "max_tokens"},
)


class OpenAICompatible(Remote, Language):
    """A model at a provider, by `POST {base_url}/chat/completions` (https://platform.openai.com/docs/api-reference/chat).

    It sends text and takes text: no tools, no pictures. What decides the text, the seed too, is passed on as it is; how
    far a provider keeps to a seed, and which of the arguments its model takes, is the provider's. Tokens are as the
    provider counts them, 0 where it does not. What a model thinks aloud beside its content is left out. A filter that
    stops the provider in the midst of a reply is an error, not a short reply.
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
        usage_in_streams: bool = Field(True, description="Ask for token counts of streams; some providers refuse")

    async def chat(
        self,
        messages: list[Message],
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: list[str] | None = None,
        seed: int | None = None,
    ) -> Reply:
        async with self._asking() as connection:
            asked = Asked.checked(messages, max_tokens, temperature, top_p, stop, seed)
            body = _body(connection.options, asked)
            return await connection.ask("POST", PATH, _reply, BLAME, json=body)

    async def stream(
        self,
        messages: list[Message],
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: list[str] | None = None,
        seed: int | None = None,
    ) -> AsyncIterator[Delta]:
        """The reply as it is written. Closing the iterator closes the connection, at which a provider stops."""
        async with self._asking() as connection:
            asked = Asked.checked(messages, max_tokens, temperature, top_p, stop, seed)
            body = _body(connection.options, asked) | {"stream": True}
            if connection.options.usage_in_streams:
                body["stream_options"] = {"include_usage": True}
            usage, reason = _Usage(), None
            async with aclosing(_chunks(connection, body)) as chunks:
                async for chunk in chunks:
                    usage = chunk.usage or usage
                    for choice in chunk.choices[:1]:
                        if choice.finish_reason:
                            reason = _reason(choice.finish_reason)
                        if choice.delta.content:
                            yield Delta(text=choice.delta.content)
            if reason is None:
                raise ModelUnavailable(f"{connection.host} broke off its answer")
            yield Delta(text="", finish_reason=reason, **usage.model_dump())


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Said(BaseModel):
    content: str | None = None


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


def _body(options: OpenAICompatible.Options, asked: Asked) -> dict[str, Any]:
    """The request. What nobody decides is left out: not every provider takes every argument."""
    body = {
        "model": options.model,
        "messages": [message.model_dump() for message in asked.messages],
        options.max_tokens_name: asked.max_tokens or options.max_tokens,
        "temperature": options.temperature if asked.temperature is None else asked.temperature,
        "top_p": asked.top_p or options.top_p,
        "stop": list(asked.stop) or None,
        "seed": asked.seed,
    }
    return {name: value for name, value in body.items() if value is not None}


def _reply(body: bytes) -> Reply:
    answer = _Completion.model_validate_json(body)
    choice, usage = answer.choices[0], answer.usage or _Usage()
    return Reply(
        text=choice.message.content or "",
        finish_reason=_reason(choice.finish_reason),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )


def _reason(finish_reason: str | None) -> Literal["stop", "length"]:
    if finish_reason == "content_filter":
        raise InvalidInput("messages", "were stopped by the provider's content filter")
    return "length" if finish_reason == "length" else "stop"


async def _chunks(connection: Connection, body: dict[str, Any]) -> AsyncGenerator[_Chunk, None]:
    """The events of a stream. One line is one event in OpenAI's protocol; lines that begin with a colon keep it alive.

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
