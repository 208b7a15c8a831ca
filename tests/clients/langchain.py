"""LangChain's langchain-openai."""

import base64
from typing import Any

import openai
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from .cells import CHAT, EMBEDDER, LONG, PERSON, QUESTION, READER, WEATHER, Call, Refusal, Service, picture, refused

REASONS = {
    "images": "langchain-openai paints only through OpenAI's Responses API or DALL-E's wrapper of another package",
    "speech_to_text": "langchain-openai has none",
    "text_to_speech": "langchain-openai has none",
}


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"It rains in {city}."


def model(service: Service, name: str = CHAT) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=service.openai, api_key=SecretStr(service.key))


def chat(service: Service) -> str:
    return str(model(service).invoke(QUESTION).content)


def stream(service: Service) -> list[str]:
    return [str(piece.content) for piece in model(service).stream(QUESTION)]


def _called(message: Any) -> Call:
    return Call(message.tool_calls[0]["name"], message.tool_calls[0]["args"])


def tools_required(service: Service) -> Call:
    return _called(model(service).bind_tools([get_weather], tool_choice="required").invoke(WEATHER))


def tools_auto(service: Service) -> str | Call:
    message = model(service).bind_tools([get_weather]).invoke(WEATHER)
    return _called(message) if message.tool_calls else str(message.content)


def json_schema(service: Service) -> dict[str, Any]:
    person = model(service).with_structured_output(Person).invoke(PERSON)
    assert isinstance(person, Person)
    return person.model_dump()


def picture_in(service: Service) -> str:
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    parts: Any = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return str(model(service, READER).invoke([HumanMessage(parts)]).content)


def embeddings(service: Service) -> list[list[float]]:
    # Its default sends tokens of OpenAI's models in place of texts; Medley's answer names this option.
    key = SecretStr(service.key)
    made = OpenAIEmbeddings(model=EMBEDDER, base_url=service.openai, api_key=key, check_embedding_ctx_length=False)
    return made.embed_documents(["A cat sleeps.", "A kitten naps."])


def errors(service: Service) -> tuple[Refusal, Refusal]:
    unknown = refused(openai.NotFoundError, lambda: model(service, "nobody").invoke(QUESTION))
    wrong = Service(service.url, "wrong")
    return unknown, refused(openai.AuthenticationError, lambda: model(wrong).invoke(QUESTION))


def context_overflow(service: Service) -> Refusal:
    refusal = refused(openai.BadRequestError, lambda: model(service).invoke(LONG))
    assert refusal.kind == "OpenAIContextOverflowError", refusal.kind  # told apart by the error's code
    return refusal
