"""instructor, over openai for Python."""

import base64
from collections.abc import Callable, Iterator
from typing import Any, Literal

import instructor
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel, ConfigDict

from .cells import CHAT, LONG, PERSON, READER, Call, Refusal, Service, picture, refused
from .openai_python import client

_ONLY = "instructor makes only objects of a schema"
REASONS = {
    "chat": _ONLY,
    "tools_auto": _ONLY,
    "embeddings": _ONLY,
    "images": _ONLY,
    "speech_to_text": _ONLY,
    "text_to_speech": _ONLY,
    "stream": "instructor streams parts of an object, tried under tools",
}


class Person(BaseModel):
    name: str
    age: int


class get_weather(BaseModel):
    """Tells the weather of a city."""

    city: str


class Seen(BaseModel):
    model_config = ConfigDict(extra="forbid")  # or a random model goes on with names of its own

    color: Literal["red", "blue"]


def _make(service: Service, schema: type[BaseModel], content: Any, mode: Any, name: str = CHAT) -> Any:
    made = instructor.from_openai(client(service), mode=mode)
    messages: Any = [{"role": "user", "content": content}]
    return made.chat.completions.create(model=name, messages=messages, response_model=schema, max_retries=0)


def tools_required(service: Service) -> Call:
    made = instructor.from_openai(client(service))
    parts: Iterator[Any] = made.chat.completions.create_partial(
        model=CHAT, messages=[{"role": "user", "content": "Weather in Paris?"}], response_model=get_weather
    )
    *_, last = parts
    return Call("get_weather", last.model_dump())


def json_schema(service: Service) -> dict[str, Any]:
    by_tool = _make(service, Person, PERSON, instructor.Mode.TOOLS)
    assert isinstance(by_tool, Person)
    return _make(service, Person, PERSON, instructor.Mode.JSON_SCHEMA).model_dump()


def picture_in(service: Service) -> str:
    seen = instructor.Image.from_raw_base64(base64.b64encode(picture()).decode())
    return _make(service, Seen, ["What color is this?", seen], instructor.Mode.JSON_SCHEMA, READER).model_dump_json()


def _refused(call: Callable[[], object]) -> Refusal:
    return refused(InstructorRetryException, call)


def errors(service: Service) -> tuple[Refusal, Refusal]:
    mode = instructor.Mode.TOOLS
    unknown = _refused(lambda: _make(service, Person, PERSON, mode, "nobody"))
    return unknown, _refused(lambda: _make(Service(service.url, "wrong"), Person, PERSON, mode))


def context_overflow(service: Service) -> Refusal:
    return _refused(lambda: _make(service, Person, LONG, instructor.Mode.TOOLS))
