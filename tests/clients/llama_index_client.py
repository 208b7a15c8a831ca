"""LlamaIndex's llms-openai-like and embeddings-openai-like."""

from typing import Any

import openai
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from .cells import CHAT, EMBEDDER, LONG, PERSON, QUESTION, READER, WEATHER, Call, Refusal, Service, picture, refused

REASONS = {
    "images": "openai-like has no painters",
    "speech_to_text": "openai-like has no recognition",
    "text_to_speech": "openai-like has no voices",
}


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"It rains in {city}."


TOOL = FunctionTool.from_defaults(get_weather)


def model(service: Service, name: str = CHAT) -> OpenAILike:
    settings: dict[str, Any] = {"is_chat_model": True, "is_function_calling_model": True, "max_retries": 0}
    return OpenAILike(model=name, api_base=service.openai, api_key=service.key, **settings)


def chat(service: Service) -> str:
    return model(service).chat([ChatMessage(QUESTION)]).message.content or ""


def stream(service: Service) -> list[str]:
    return [piece.delta or "" for piece in model(service).stream_chat([ChatMessage(QUESTION)])]


def _called(service: Service, required: bool) -> Any:
    asking = model(service)
    return asking, asking.chat_with_tools([TOOL], user_msg=WEATHER, tool_required=required)


def tools_required(service: Service) -> Call:
    asking, reply = _called(service, True)
    call = asking.get_tool_calls_from_response(reply)[0]
    return Call(call.tool_name, call.tool_kwargs)


def tools_auto(service: Service) -> str | Call:
    asking, reply = _called(service, False)
    calls = asking.get_tool_calls_from_response(reply, error_on_no_tool_call=False)
    return Call(calls[0].tool_name, calls[0].tool_kwargs) if calls else reply.message.content


def json_schema(service: Service) -> dict[str, Any]:
    structured = model(service).as_structured_llm(Person)
    return structured.chat([ChatMessage(PERSON)]).raw.model_dump()  # type: ignore[union-attr]


def picture_in(service: Service) -> str:
    message = ChatMessage(blocks=[TextBlock(text="What is this?"), ImageBlock(image=picture())])
    return model(service, READER).chat([message]).message.content or ""


def embeddings(service: Service) -> list[list[float]]:
    made = OpenAILikeEmbedding(model_name=EMBEDDER, api_base=service.openai, api_key=service.key)
    return made.get_text_embedding_batch(["A cat sleeps.", "A kitten naps."])


def errors(service: Service) -> tuple[Refusal, Refusal]:
    unknown = refused(openai.NotFoundError, lambda: model(service, "nobody").chat([ChatMessage(QUESTION)]))
    wrong = Service(service.url, "wrong")
    return unknown, refused(openai.AuthenticationError, lambda: model(wrong).chat([ChatMessage(QUESTION)]))


def context_overflow(service: Service) -> Refusal:
    return refused(openai.BadRequestError, lambda: model(service).chat([ChatMessage(LONG)]))
