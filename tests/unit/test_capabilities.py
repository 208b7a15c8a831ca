"""What every capability's signatures promise, and what follows from them."""

import importlib.util
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from deployments.call_options import options_in, parameters_of, refuse_unknown, with_options
from deployments.capabilities import (
    CAPABILITIES,
    ChatOptions,
    Delta,
    Language,
    Message,
    Reply,
    Segment,
    ToolCall,
    Transcript,
)
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.media import Audio
from deployments.pieces import whole_of
from graphs.chat import ChatRequest, chat

from .fakes import Writer

METHODS = [
    (capability, function)
    for capability in CAPABILITIES
    for name, function in vars(capability).items()
    if inspect.isfunction(function) and not name.startswith("_")
]
STREAMS = [(capability, function) for capability, function in METHODS if not inspect.iscoroutinefunction(function)]
REPLY = Reply(
    text="It rains.",
    tool_calls=[ToolCall(id="a", name="weather", arguments="{}")],
    finish_reason="tool_calls",
    prompt_tokens=7,
    completion_tokens=9,
)
HEARD = Transcript(
    text="one two",
    language="en-US",
    seconds=3.5,
    segments=[Segment(start=0, end=1, text=text) for text in ("one", "two")],
)
SPOKEN = Audio(b"RIFF...", "audio/wav")
WHOLES = [(Delta, REPLY), (Transcript, HEARD), (Audio, SPOKEN)]
CHARM = ("charm", Annotated[float | None, Field(ge=0, le=1, description="How much of it")])


def item_of(stream: Callable[..., Any]) -> Any:
    """The type of a stream's items."""
    return typing.get_args(typing.get_type_hints(stream)["return"])[0]


@pytest.mark.parametrize(("capability", "stream"), STREAMS, ids=lambda value: value.__qualname__)
def test_a_stream_is_the_answer_of_a_method_with_the_same_arguments(
    capability: type[Any], stream: Callable[..., Any]
) -> None:
    whole = getattr(capability, whole_of(stream) or "")
    assert inspect.iscoroutinefunction(whole)
    assert list(inspect.signature(stream).parameters.values()) == list(inspect.signature(whole).parameters.values())
    answer = typing.get_type_hints(whole)["return"]
    assert (item_of(stream), answer) in [(item, type(example)) for item, example in WHOLES]


def test_a_method_that_answers_at_once_is_no_stream() -> None:
    assert len(STREAMS) == len(WHOLES)
    assert not any(whole_of(function) for _, function in METHODS if inspect.iscoroutinefunction(function))


@pytest.mark.parametrize(("item", "whole"), WHOLES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_whole_in_pieces_joined_is_the_whole(item: Any, whole: Any) -> None:
    pieces = item.split(whole)
    assert pieces and all(isinstance(piece, item) for piece in pieces)
    assert item.join(pieces) == whole


@pytest.mark.parametrize("item", [item for item, _ in WHOLES])
def test_no_pieces_are_no_answer(item: Any) -> None:
    with pytest.raises(ModelUnavailable, match="the model gave nothing"):
        item.join([])


def test_deltas_joined_are_the_reply() -> None:
    last = Delta(**{**dict(REPLY), "text": "."})
    assert Delta.join([Delta(text="It "), Delta(text="rains"), last]) == REPLY


def test_a_reply_without_its_end_is_broken_off() -> None:
    with pytest.raises(ModelUnavailable, match="broke off"):
        Delta.join([Delta(text="It ")])


def test_stretches_joined_are_the_transcript() -> None:
    stretches = [
        Transcript(text=segment.text, language="en-US", seconds=3.5, segments=[segment]) for segment in HEARD.segments
    ]
    silence = Transcript(text="", language="en-US", seconds=3.5)
    assert Transcript.join([stretches[0], silence, stretches[1]]) == HEARD
    assert Transcript.join([silence]) == silence


def test_pieces_of_a_file_joined_are_its_bytes() -> None:
    assert Audio.join([Audio(b"RI", "audio/wav"), Audio(b"FF...", "audio/wav")]) == SPOKEN


def test_options_that_are_unpacked_are_parameters_like_others() -> None:
    found = parameters_of(Language.chat)
    assert list(found) == ["messages", *typing.get_type_hints(ChatOptions)]
    assert found["messages"] == list[Message]
    assert found["seed"] == int | None


@pytest.mark.parametrize(("capability", "method"), METHODS, ids=lambda value: value.__qualname__)
def test_every_parameter_of_a_capability_has_a_type(capability: type[Any], method: Callable[..., Any]) -> None:
    assert all(parameter is not Any for parameter in parameters_of(method).values())


def test_a_request_has_a_methods_options_with_their_bounds() -> None:
    assert list(ChatRequest.model_fields) == ["messages", *typing.get_type_hints(ChatOptions)]
    longest = ChatRequest.model_json_schema()["properties"]["max_tokens"]
    assert longest == {
        "anyOf": [{"exclusiveMaximum": 2**31, "minimum": 1, "type": "integer"}, {"type": "null"}],
        "default": None,
        "description": "Longest answer, in tokens; else what the context has room for",
        "title": "Max Tokens",
    }
    with pytest.raises(ValidationError, match="max_tokens"):
        ChatRequest.model_validate({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 0})


def test_what_a_request_says_is_what_the_call_has() -> None:
    @with_options(ChatOptions)
    class Request(BaseModel):
        text: str

    assert options_in(Request.model_validate({"text": "hi", "seed": 0, "stop": []}), ChatOptions) == {
        "seed": 0,
        "stop": [],
    }


def test_what_a_backend_has_not_learned_is_refused_by_name() -> None:
    refuse_unknown({"seed": 1, "charm": None}, {"seed"})
    with pytest.raises(InvalidInput, match="charm: is not supported") as refused:
        refuse_unknown({"seed": 1, "charm": 0.5}, {"seed"})
    assert refused.value.field == "charm"


async def test_one_more_option_of_a_language_model_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """That every backend refuses it until it has learned it, `tests/backends/test_language.py` says."""
    monkeypatch.setitem(ChatOptions.__annotations__, *CHARM)
    assert parameters_of(Language.chat)["charm"] == parameters_of(Language.stream)["charm"] == float | None
    spec = importlib.util.spec_from_file_location("chat_with_charm", Path(chat.function.__code__.co_filename))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    schema = module.ChatRequest.model_json_schema()["properties"]["charm"]
    assert schema["anyOf"][0] == {"maximum": 1.0, "minimum": 0.0, "type": "number"}
    assert schema["description"] == "How much of it"
    request = module.ChatRequest.model_validate({"messages": [{"role": "user", "content": "hi"}], "charm": 0.5})
    writer = Writer()
    assert [piece async for piece in module.chat(request, writer)]
    assert writer.options == [{"charm": 0.5}]
