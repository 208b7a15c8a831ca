"""Semantic Kernel's connectors for OpenAI."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from openai import AsyncOpenAI
from pydantic import BaseModel
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import (
    OpenAIAudioToText,
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
    OpenAITextEmbedding,
    OpenAITextToAudio,
    OpenAITextToImage,
)
from semantic_kernel.contents import (
    AudioContent,
    ChatHistory,
    ChatMessageContent,
    FunctionCallContent,
    ImageContent,
    TextContent,
)
from semantic_kernel.exceptions import ServiceResponseException
from semantic_kernel.functions import kernel_function

from .cells import (
    CHAT,
    EARS,
    EMBEDDER,
    LONG,
    PAINTER,
    PERSON,
    QUESTION,
    READER,
    SPEECH,
    VOICE,
    WEATHER,
    Call,
    Refusal,
    Service,
    picture,
)

REASONS: dict[str, str] = {}


class Person(BaseModel):
    name: str
    age: int


PICTURE_URL = "data:image/png;base64," + base64.b64encode(picture()).decode()


class Weather:
    """A plugin."""

    @kernel_function(name="get_weather", description="The weather of a city.")
    def get_weather(self, city: str) -> str:
        return f"It rains in {city}."


def _client(service: Service) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=service.openai, api_key=service.key)


def _history(text: str) -> ChatHistory:
    history = ChatHistory()
    history.add_user_message(text)
    return history


async def _reply(service: Service, text: str, name: str = CHAT, **settings: Any) -> ChatMessageContent:
    kernel = Kernel()
    kernel.add_plugin(Weather(), "weather")
    chat = OpenAIChatCompletion(ai_model_id=name, async_client=_client(service))
    options = OpenAIChatPromptExecutionSettings(**settings)
    reply = await chat.get_chat_message_content(_history(text), options, kernel=kernel)
    assert reply
    return reply


def chat(service: Service) -> str:
    return str(asyncio.run(_reply(service, QUESTION)))


def stream(service: Service) -> list[str]:
    async def pieces() -> list[str]:
        chat = OpenAIChatCompletion(ai_model_id=CHAT, async_client=_client(service))
        settings = OpenAIChatPromptExecutionSettings()
        found = chat.get_streaming_chat_message_content(_history(QUESTION), settings)
        return [str(piece) async for piece in found if piece]

    return asyncio.run(pieces())


def _answer(reply: ChatMessageContent) -> str | Call:
    calls = [item for item in reply.items if isinstance(item, FunctionCallContent)]
    if not calls:
        return str(reply)
    return Call(calls[0].function_name, calls[0].to_kernel_arguments())


def tools_required(service: Service) -> Call:
    behavior = FunctionChoiceBehavior.Required(auto_invoke=False)
    answer = _answer(asyncio.run(_reply(service, WEATHER, function_choice_behavior=behavior)))
    assert isinstance(answer, Call)
    return answer


def tools_auto(service: Service) -> str | Call:
    behavior = FunctionChoiceBehavior.Auto(auto_invoke=False)
    return _answer(asyncio.run(_reply(service, WEATHER, function_choice_behavior=behavior)))


def json_schema(service: Service) -> dict[str, Any]:
    return Person.model_validate_json(str(asyncio.run(_reply(service, PERSON, response_format=Person)))).model_dump()


def picture_in(service: Service) -> str:
    async def seen() -> str:
        history = ChatHistory()
        parts = [TextContent(text="What is this?"), ImageContent(uri=PICTURE_URL)]
        history.add_user_message(parts)  # type: ignore[arg-type]
        chat = OpenAIChatCompletion(ai_model_id=READER, async_client=_client(service))
        return str(await chat.get_chat_message_content(history, OpenAIChatPromptExecutionSettings()))

    return asyncio.run(seen())


def embeddings(service: Service) -> list[list[float]]:
    made = OpenAITextEmbedding(ai_model_id=EMBEDDER, async_client=_client(service))
    return asyncio.run(made.generate_embeddings(["A cat sleeps.", "A kitten naps."])).tolist()


def images(service: Service) -> bytes:
    painter = OpenAITextToImage(ai_model_id=PAINTER, async_client=_client(service))
    made = asyncio.run(painter.generate_image("a red bird", 256, 256))
    if isinstance(made, str) and made.startswith("http"):
        return httpx.get(made).content
    return base64.b64decode(made)


def speech_to_text(service: Service) -> str:
    ears = OpenAIAudioToText(ai_model_id=EARS, async_client=_client(service))
    return asyncio.run(ears.get_text_content(AudioContent.from_audio_file(str(SPEECH)))).text


def text_to_speech(service: Service) -> bytes:
    voice = OpenAITextToAudio(ai_model_id=VOICE, async_client=_client(service))
    return asyncio.run(voice.get_audio_content("Good morning.")).data


def _refused(call: Callable[[], Awaitable[Any]]) -> Refusal:
    try:
        asyncio.run(call())  # type: ignore[arg-type]
    except ServiceResponseException as error:
        return Refusal(type(error.__cause__ or error).__name__, str(error))
    raise AssertionError("no error")


def errors(service: Service) -> tuple[Refusal, Refusal]:
    unknown = _refused(lambda: _reply(service, QUESTION, "nobody"))
    return unknown, _refused(lambda: _reply(Service(service.url, "wrong"), QUESTION))


def context_overflow(service: Service) -> Refusal:
    return _refused(lambda: _reply(service, LONG))
