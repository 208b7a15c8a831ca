"""openai for Python."""

import base64
import json
from typing import Any

import openai
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
)

REASONS: dict[str, str] = {}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Person(BaseModel):
    name: str
    age: int


def client(service: Service) -> openai.OpenAI:
    return openai.OpenAI(base_url=service.openai, api_key=service.key)


def user(content: Any) -> Any:
    return [{"role": "user", "content": content}]


def chat(service: Service) -> str:
    reply = client(service).chat.completions.create(model=CHAT, messages=user(QUESTION))
    assert reply.usage and reply.usage.total_tokens > reply.usage.prompt_tokens
    return reply.choices[0].message.content or ""


def stream(service: Service) -> list[str]:
    chunks = client(service).chat.completions.create(model=CHAT, messages=user(QUESTION), stream=True)
    return [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]


def _called(service: Service, choice: Any) -> Any:
    arguments: Any = {} if choice is None else {"tool_choice": choice}
    api = client(service).chat.completions
    return api.create(model=CHAT, messages=user(WEATHER), tools=[TOOL], **arguments).choices[0].message


def _call(message: Any) -> Call:
    function = message.tool_calls[0].function
    return Call(function.name, json.loads(function.arguments))


def tools_required(service: Service) -> Call:
    return _call(_called(service, "required"))


def tools_auto(service: Service) -> str | Call:
    message = _called(service, None)
    return _call(message) if message.tool_calls else message.content


def json_schema(service: Service) -> dict[str, Any]:
    api = client(service).chat.completions
    parsed = api.parse(model=CHAT, messages=user(PERSON), response_format=Person).choices[0].message.parsed
    assert parsed
    return parsed.model_dump()


def picture_in(service: Service) -> str:
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    reply = client(service).chat.completions.create(model=READER, messages=user(parts))
    return reply.choices[0].message.content or ""


def embeddings(service: Service) -> list[list[float]]:
    made = client(service).embeddings.create(model=EMBEDDER, input=["A cat sleeps.", "A kitten naps."])
    return [row.embedding for row in made.data]


def images(service: Service) -> bytes:
    made = client(service).images.generate(model=PAINTER, prompt="a red bird", response_format="b64_json")
    assert made.data
    return base64.b64decode(made.data[0].b64_json or "")


def speech_to_text(service: Service) -> str:
    return client(service).audio.transcriptions.create(model=EARS, file=SPEECH).text


def text_to_speech(service: Service) -> bytes:
    return client(service).audio.speech.create(model=VOICE, voice="alloy", input="Good morning.").content


def errors(service: Service) -> tuple[Refusal, Refusal]:
    try:
        client(service).chat.completions.create(model="nobody", messages=user(QUESTION))
        raise AssertionError("no error")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error.code
        model = Refusal(type(error).__name__, str(error))
    try:
        client(Service(service.url, "wrong")).models.list()
        raise AssertionError("no error")
    except openai.AuthenticationError as error:
        return model, Refusal(type(error).__name__, str(error))


def context_overflow(service: Service) -> Refusal:
    try:
        client(service).chat.completions.create(model=CHAT, messages=user(LONG))
        raise AssertionError("no error")
    except openai.BadRequestError as error:
        assert error.code == "context_length_exceeded", error.code
        return Refusal(type(error).__name__, str(error))
