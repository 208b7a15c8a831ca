"""Pydantic AI's agents."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, Embedder, ModelHTTPError, NativeOutput
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from .cells import CHAT, EMBEDDER, LONG, PERSON, QUESTION, READER, WEATHER, Call, Refusal, Service, picture

REASONS = {
    "images": "Pydantic AI paints only by OpenAI's Responses API",
    "speech_to_text": "Pydantic AI has none",
    "text_to_speech": "Pydantic AI has none",
}


class Person(BaseModel):
    """A person."""

    name: str
    age: int


class Weather(BaseModel):
    """The weather of a city."""

    city: str


def _provider(service: Service) -> OpenAIProvider:
    return OpenAIProvider(base_url=service.openai, api_key=service.key)


def _model(service: Service, name: str = CHAT) -> OpenAIChatModel:
    return OpenAIChatModel(name, provider=_provider(service))


def chat(service: Service) -> str:
    return Agent(_model(service)).run_sync(QUESTION).output


def stream(service: Service) -> list[str]:
    return list(Agent(_model(service)).run_stream_sync(QUESTION).stream_text(delta=True, debounce_by=None))


def tools_required(service: Service) -> Call:
    # An output type is a tool that has to be called.
    made = Agent(_model(service), output_type=Weather, name="weather").run_sync(WEATHER).output
    return Call("get_weather", made.model_dump())


def tools_auto(service: Service) -> str | Call:
    agent = Agent(_model(service))

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"It rains in {city}."

    return agent.run_sync(WEATHER).output


def json_schema(service: Service) -> dict[str, Any]:
    return Agent(_model(service), output_type=NativeOutput(Person)).run_sync(PERSON).output.model_dump()


def picture_in(service: Service) -> str:
    parts = ["What is this?", BinaryContent(picture(), media_type="image/png")]
    return Agent(_model(service, READER)).run_sync(parts).output


def embeddings(service: Service) -> list[list[float]]:
    embedder = Embedder(OpenAIEmbeddingModel(EMBEDDER, provider=_provider(service)))
    return [list(vector) for vector in embedder.embed_documents_sync(["A cat sleeps.", "A kitten naps."]).embeddings]


def _refused(call: Callable[[], object]) -> Refusal:
    try:
        call()
    except ModelHTTPError as error:
        return Refusal(f"{type(error).__name__} {error.status_code}", str(error))
    raise AssertionError("no error")


def errors(service: Service) -> tuple[Refusal, Refusal]:
    unknown = _refused(lambda: Agent(_model(service, "nobody")).run_sync(QUESTION))
    return unknown, _refused(lambda: Agent(_model(Service(service.url, "wrong"))).run_sync(QUESTION))


def context_overflow(service: Service) -> Refusal:
    return _refused(lambda: Agent(_model(service)).run_sync(LONG))
