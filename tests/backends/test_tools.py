"""What the language backends share about tools and schemas, without any weights."""

import json
import time
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from deployments.capabilities import ChatOptions, Message, Tool, ToolCall
from deployments.errors import InvalidInput
from deployments.language.reading import reading
from deployments.language.request import LEARNED, LanguageRequest
from deployments.language.schemas import DEEPEST, LONGEST, LONGEST_TRIAL_S, MOST_ITEMS, grammar
from deployments.language.tools import call_id, forced_schema, plain_turns, turns

from .schemas import ODD, nested

CALLS = [ToolCall(id=name, name="weather", arguments=f'{{"city": "{name}"}}') for name in ("Paris", "Rome")]
TALK = [
    Message(role="system", content="Be brief."),
    Message(role="user", content="Does it rain?"),
    Message(role="assistant", content="I look.", tool_calls=CALLS),
    Message(role="tool", content="rain", tool_call_id="Paris"),
    Message(role="tool", content="sun", tool_call_id="Rome"),
    Message(role="user", content="And tomorrow?"),
]
CITY = {"properties": {"city": {"$ref": "#/$defs/city"}}, "required": ["city"], "$defs": {"city": {"enum": ["Paris"]}}}
TREE = {"properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}, "required": ["kids"]}
TOOLS = [Tool(name="weather", description="Rain or sun", parameters=CITY), Tool(name="plant", parameters=TREE)]


def request(**options: Any) -> LanguageRequest:
    return LanguageRequest.checked(TALK, ChatOptions(**options), LEARNED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "tool", "content": "x"},
        {"role": "user", "content": "x", "tool_call_id": "a"},
        {"role": "user", "content": "x", "tool_calls": CALLS},
        {"role": "user"},
        {"role": "assistant"},
    ],
)
def test_a_message_whose_parts_do_not_fit_its_role_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Message(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "a b"}, {"name": "none"}, {"name": "x", "parameters": {"type": "string"}}]
)
def test_a_tool_needs_a_name_and_an_object(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Tool(**wrong)
    assert Tool(name="x").parameters == {"type": "object", "properties": {}, "additionalProperties": False}


def test_templates_that_know_tools_get_objects_and_names() -> None:
    found = turns(TALK)
    assert [turn["role"] for turn in found] == [message.role for message in TALK]
    assert [call["function"] for call in found[2]["tool_calls"]] == [
        {"name": "weather", "arguments": {"city": "Paris"}},
        {"name": "weather", "arguments": {"city": "Rome"}},
    ]
    assert [(turn["name"], turn["tool_call_id"]) for turn in found[3:5]] == [("weather", "Paris"), ("weather", "Rome")]


def test_templates_that_do_not_get_it_all_in_words() -> None:
    found = plain_turns(TALK, TOOLS)
    assert [turn["role"] for turn in found] == ["system", "user", "assistant", "user", "user"]
    assert all(set(turn) == {"role", "content"} for turn in found)
    assert "Rain or sun" in found[0]["content"] and found[0]["content"].endswith("\n\nBe brief.")
    assert found[2]["content"].splitlines()[1:] == [
        '{"name": "weather", "arguments": {"city": "Paris"}}',
        '{"name": "weather", "arguments": {"city": "Rome"}}',
    ]
    assert found[3]["content"] == "weather answered: rain\nweather answered: sun"
    assert plain_turns(TALK[:2], ()) == [message.model_dump(include={"role", "content"}) for message in TALK[:2]]


def test_forced_calls_are_held_to_each_tools_own_schema() -> None:
    schema = forced_schema(TOOLS, "required")
    jsonschema.Draft202012Validator.check_schema(schema)
    good = [
        {"name": "weather", "arguments": {"city": "Paris"}},
        {"name": "plant", "arguments": {"kids": [{"kids": []}]}},
    ]
    jsonschema.validate(good, schema)
    for wrong in (
        [],
        [{"name": "weather", "arguments": {"city": "Rome"}}],
        [{"name": "weather", "arguments": {"kids": []}}],
        [{"name": "weather", "arguments": {"city": "Paris", "more": 1}}],
        [{"name": "plant", "arguments": {"kids": [{}]}}],
        [{"name": "other", "arguments": {}}],
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    assert grammar(schema, "tools")
    jsonschema.validate({"city": "Paris"}, forced_schema(TOOLS, "weather"))


def test_a_call_deeper_than_python_reads_is_cut_and_no_error() -> None:
    read = reading(request(tools=TOOLS, tool_choice="plant"))
    read.take('{"kids": [' * 5000, [])
    assert read.end("length").tool_calls == []
    with pytest.raises(InvalidInput, match="no JSON object"):
        turns([Message(role="assistant", tool_calls=[ToolCall(id="a", name="plant", arguments='{"a": ' + "[" * 5000)])])


def test_an_id_is_the_calls_own() -> None:
    ids = {call_id(TALK[:n], number, name, text) for n in (1, 2) for number in (0, 1) for name in "ab" for text in "cd"}
    assert len(ids) == 16
    assert all(len(made) == 9 and made.isalnum() for made in ids)
    assert call_id(TALK, 0, "a", "c") == call_id(TALK, 0, "a", "c")


@pytest.mark.parametrize(
    ("form", "field"), [({"json_schema": {}}, "json_schema"), ({"tool_choice": "weather"}, "tools")]
)
def test_what_a_grammar_gave_up_in_its_midst_is_no_reply(form: dict[str, Any], field: str) -> None:
    tools = TOOLS if field == "tools" else None
    for cut in ({}, {"stop": ["x"]}):
        read = reading(request(**form, **cut, tools=tools))
        read.take('{"city": "Par', [])
        assert read.end("length").finish_reason == "length"
        if cut:  # it is the caller who had it cut
            assert read.end("stop").tool_calls == []
        else:
            with pytest.raises(InvalidInput, match="too complex") as refused:
                read.end("stop")
            assert refused.value.field == field


def test_a_schema_that_would_take_minutes_is_given_up() -> None:
    begun = time.monotonic()
    with pytest.raises(InvalidInput, match="it is too complex"):
        grammar(ODD["patterns at once"], "json_schema")
    assert time.monotonic() - begun < LONGEST_TRIAL_S + 5


def test_a_schema_up_to_the_bounds_is_taken_and_beyond_them_refused() -> None:
    def items(most: int) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "integer"}, "maxItems": most}

    def long(size: int) -> dict[str, Any]:
        return {"enum": ["x" * size]}

    room = LONGEST - len(json.dumps(long(0))) - 200
    levels = (DEEPEST - 1) // 2  # a property is two
    for within, beyond in (
        (items(MOST_ITEMS), items(MOST_ITEMS + 1)),
        (long(room), long(LONGEST)),
        (nested(levels - 1), nested(levels + 1)),
    ):
        assert grammar(within, "json_schema")
        with pytest.raises(InvalidInput) as refused:
            grammar(beyond, "json_schema")
        assert refused.value.field == "json_schema"
