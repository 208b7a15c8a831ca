"""LiteLLM, with its provider `openai`."""

import base64
import json
from typing import Any

import litellm
from pydantic import BaseModel

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
    refused,
)
from .openai_python import TOOL, user

REASONS: dict[str, str] = {}


class Person(BaseModel):
    name: str
    age: int


def completion(service: Service, content: Any, name: str = CHAT, **options: Any) -> Any:
    options |= {"api_base": service.openai, "api_key": service.key}
    return litellm.completion(f"openai/{name}", messages=user(content), **options)


def chat(service: Service) -> str:
    return completion(service, QUESTION).choices[0].message.content


def stream(service: Service) -> list[str]:
    return [chunk.choices[0].delta.content or "" for chunk in completion(service, QUESTION, stream=True)]


def _call(message: Any) -> Call:
    function = message.tool_calls[0].function
    return Call(function.name, json.loads(function.arguments))


def tools_required(service: Service) -> Call:
    return _call(completion(service, WEATHER, tools=[TOOL], tool_choice="required").choices[0].message)


def tools_auto(service: Service) -> str | Call:
    message = completion(service, WEATHER, tools=[TOOL]).choices[0].message
    return _call(message) if message.tool_calls else message.content


def json_schema(service: Service) -> dict[str, Any]:
    return json.loads(completion(service, PERSON, response_format=Person).choices[0].message.content)


def picture_in(service: Service) -> str:
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return completion(service, parts, READER).choices[0].message.content


def _options(service: Service) -> Any:
    return {"api_base": service.openai, "api_key": service.key}


def embeddings(service: Service) -> list[list[float]]:
    made = litellm.embedding(f"openai/{EMBEDDER}", input=["A cat sleeps.", "A kitten naps."], **_options(service))
    return [row["embedding"] for row in made.data]


def images(service: Service) -> bytes:
    made: Any = litellm.image_generation("a red bird", f"openai/{PAINTER}", **_options(service))
    return base64.b64decode(made.data[0].b64_json)


def speech_to_text(service: Service) -> str:
    with SPEECH.open("rb") as file:
        made: Any = litellm.transcription(f"openai/{EARS}", file, **_options(service))
    return made.text


def text_to_speech(service: Service) -> bytes:
    made: Any = litellm.speech(f"openai/{VOICE}", "Good morning.", voice="alloy", **_options(service))
    return made.content


def errors(service: Service) -> tuple[Refusal, Refusal]:
    unknown = refused(litellm.NotFoundError, lambda: completion(service, QUESTION, "nobody"))
    wrong = Service(service.url, "wrong")
    return unknown, refused(litellm.AuthenticationError, lambda: completion(wrong, QUESTION))


def context_overflow(service: Service) -> Refusal:
    return refused(litellm.ContextWindowExceededError, lambda: completion(service, LONG))
