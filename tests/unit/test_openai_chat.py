"""Tools, schemas and adapters of a chat as OpenAI's own client asks for them, over a fake model."""

from collections.abc import AsyncIterator, Callable
from typing import Any, get_type_hints

import openai
import pytest
from pydantic import BaseModel
from starlette.types import ASGIApp

from deployments.capabilities import ChatOptions, Message, Tool, ToolCall
from serve_app.config.loading import load_graphs
from serve_app.config.schema import AppConfig
from serve_app.gateway.routes.openai.chat_body import OTHER_FORM, ChatCompletion
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import bind_models

from .fakes import Writer
from .services import KEY, Services, connect

HELLO: Any = [{"role": "user", "content": "Hello"}]
CALLS = [
    ToolCall(id="a", name="weather", arguments='{"city": "Paris"}'),
    ToolCall(id="b", name="weather", arguments='{"city": "Rome"}'),
]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


class Place(BaseModel):
    city: str


def app_of(services: Services, writer: Writer) -> ASGIApp:
    config = AppConfig.model_validate({"models": [{"name": "writer", "backend": "transformers"}]})
    return services.make(config, load_graphs(config.graphs), bind_models(config, {"writer": LocalHandle(writer)})).app


@pytest.fixture
async def open_api(services: Services) -> AsyncIterator[Callable[[Writer], openai.AsyncOpenAI]]:
    """OpenAI's client of a service with this one model."""
    opened: list[openai.AsyncOpenAI] = []

    def made(writer: Writer) -> openai.AsyncOpenAI:
        config = AppConfig.model_validate({"models": [{"name": "writer", "backend": "transformers"}]})
        app = services.make(
            config, load_graphs(config.graphs), bind_models(config, {"writer": LocalHandle(writer)})
        ).app
        http = connect(app)
        options: Any = {"base_url": f"{http.base_url}/v1", "api_key": KEY, "http_client": http, "max_retries": 0}
        opened.append(openai.AsyncOpenAI(**options))
        return opened[-1]

    yield made
    for client in opened:
        await client.close()


Open = Callable[[Writer], openai.AsyncOpenAI]


async def test_calls_are_answered_in_openais_form(open_api: Open) -> None:
    writer = Writer("", CALLS)
    answer = await open_api(writer).chat.completions.create(model="writer", messages=HELLO, tools=[WEATHER])
    choice: Any = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    made = [
        (call.id, call.type, call.function.name, call.function.arguments) for call in choice.message.tool_calls or []
    ]
    assert made == [(call.id, "function", call.name, call.arguments) for call in CALLS]
    assert writer.options == [{"tools": [Tool(**WEATHER["function"])]}]


async def test_calls_come_at_the_end_of_a_stream(open_api: Open) -> None:
    stream = await open_api(Writer("Let me see.", CALLS)).chat.completions.create(
        model="writer", messages=HELLO, tools=[WEATHER], stream=True
    )
    chunks = [chunk.choices[0] async for chunk in stream]
    assert [chunk.delta.content for chunk in chunks] == ["Let ", "me ", "see.", ""]
    assert [bool(chunk.delta.tool_calls) for chunk in chunks] == [False, False, False, True]
    calls: Any = chunks[-1].delta.tool_calls
    made = [(call.index, call.id, call.function.arguments) for call in calls]
    assert made == [(number, call.id, call.arguments) for number, call in enumerate(CALLS)]
    assert chunks[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
async def test_one_call_at_a_time_is_one(open_api: Open, stream: bool) -> None:
    asked: Any = {"model": "writer", "messages": HELLO, "tools": [WEATHER], "parallel_tool_calls": False}
    answer: Any = await open_api(Writer("", CALLS)).chat.completions.create(**asked, stream=stream)
    last = [chunk async for chunk in answer][-1].choices[0].delta if stream else answer.choices[0].message
    assert [call.id for call in last.tool_calls] == ["a"]


@pytest.mark.parametrize(
    ("choice", "asked"),
    [("auto", "auto"), ("required", "required"), ({"type": "function", "function": {"name": "weather"}}, "weather")],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_choice_of_tool_is_the_models(open_api: Open, choice: Any, asked: str, stream: bool) -> None:
    writer = Writer("", CALLS)
    answer: Any = await open_api(writer).chat.completions.create(
        model="writer", messages=HELLO, tools=[WEATHER], tool_choice=choice, stream=stream
    )
    if stream:
        assert [chunk async for chunk in answer]
    assert writer.options[0]["tool_choice"] == asked
    assert writer.options[0]["tools"] == [Tool(**WEATHER["function"])]


async def test_what_a_tool_answered_goes_to_the_model(open_api: Open) -> None:
    writer = Writer("It rains.")
    said = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    turns: Any = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [said]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "rain"}]},
    ]
    await open_api(writer).chat.completions.create(model="writer", messages=turns)
    expected = [Message(role="assistant", tool_calls=CALLS[:1]), Message(role="tool", tool_call_id="a", content="rain")]
    assert writer.heard[0][1:] == expected


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}}, {"type": "array"}),
    ],
)
async def test_a_response_format_is_the_models_schema(open_api: Open, form: Any, schema: Any) -> None:
    writer = Writer("[]")
    await open_api(writer).chat.completions.create(model="writer", messages=HELLO, response_format=form)
    assert writer.options[0].get("json_schema") == schema


async def test_a_class_can_be_parsed(open_api: Open) -> None:
    client = open_api(Writer('{"city": "Paris"}'))
    answer = await client.chat.completions.parse(model="writer", messages=HELLO, response_format=Place)
    assert answer.choices[0].message.parsed == Place(city="Paris")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_may_be_named_with_an_adapter(open_api: Open, stream: bool) -> None:
    writer = Writer("Arr.")
    answer: Any = await open_api(writer).chat.completions.create(model="writer:pirate", messages=HELLO, stream=stream)
    found = [chunk.model async for chunk in answer] if stream else [answer.model]
    assert set(found) == {"writer:pirate"}
    assert writer.options == [{"adapter": "pirate"}]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"messages": [{"role": "tool", "content": "rain"}]}, "messages.0"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"tools": [{**WEATHER, "function": {"name": "two words"}}]}, "tools.0.name"),
        ({"tools": [{**WEATHER, "function": {"name": "auto"}}]}, "tools.0.name"),
        ({"tools": [{**WEATHER, "function": {"name": "x", "parameters": {"type": "string"}}}]}, "tools.0.parameters"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
    ],
)
async def test_what_cannot_be_used_is_named(open_api: Open, asked: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await open_api(Writer()).chat.completions.create(**{"model": "writer", "messages": HELLO, **asked})
    assert str(refused.value.param).startswith(param)


async def test_the_graphs_own_route_takes_and_gives_the_same(services: Services) -> None:
    config = AppConfig.model_validate({"models": [{"name": "writer", "backend": "transformers"}]})
    writer = Writer("", CALLS)
    app = services.make(config, load_graphs(config.graphs), bind_models(config, {"writer": LocalHandle(writer)})).app
    asked = {
        "tools": [WEATHER["function"]],
        "tool_choice": "weather",
        "json_schema": {"type": "object"},
        "adapter": "x",
    }
    answer = await connect(app).post("/api/v1/graphs/chat", json={"messages": HELLO, **asked})
    assert answer.status_code == 200, answer.text
    assert answer.json()["tool_calls"] == [call.model_dump() for call in CALLS]
    assert writer.options == [{**asked, "tools": [Tool(**WEATHER["function"])]}]


def test_an_option_of_a_language_model_is_openais_too_without_an_edit() -> None:
    """Those that OpenAI's clients send in another form are named; every other comes from `ChatOptions`."""
    named = set(get_type_hints(ChatOptions))
    assert set(OTHER_FORM) <= named
    assert named - set(OTHER_FORM) <= set(ChatCompletion.model_fields)
    body = {"messages": HELLO, "temperature": 0.5, "seed": 7, "top_p": 0.25}
    fields = ChatCompletion.model_validate(body).fields()
    assert (fields["temperature"], fields["seed"], fields["top_p"]) == (0.5, 7, 0.25)
    assert set(fields) - {"messages"} <= named


@pytest.mark.parametrize(("option", "value"), [("temperature", 3), ("top_p", 0), ("seed", -1)])
async def test_an_option_out_of_bounds_is_refused_by_its_name(open_api: Open, option: str, value: float) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await open_api(Writer()).chat.completions.create(model="writer", messages=HELLO, **{option: value})  # type: ignore[arg-type]
    assert refused.value.param == option
