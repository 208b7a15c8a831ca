"""Bodies of OpenAI's chats as its clients really send them: nulls, parts, fields we have and lack."""

import base64
from typing import Any

import pytest

from deployments.capabilities import Message
from deployments.errors import PromptTooLong
from deployments.messages import AudioPart, ImagePart, TextPart
from serve_app.config.loading import load_graphs
from serve_app.config.schema import AppConfig
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import bind_models

from .fakes import PICTURE, RECORDING, Writer
from .services import Services, connect

HELLO: dict[str, Any] = {"model": "writer", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def writer() -> Writer:
    return Writer("Yes.")


@pytest.fixture
def post(services: Services, writer: Writer) -> Any:
    config = AppConfig.model_validate({"models": [{"name": "writer", "backend": "transformers"}]})

    async def posted(body: dict[str, Any], path: str = "/v1/chat/completions") -> Any:
        models = bind_models(config, {"writer": LocalHandle(writer)})
        async with connect(services.make(config, load_graphs(config.graphs), models).app) as client:
            return await client.post(path, json=body)

    return posted


async def test_a_null_is_a_field_that_is_not_there(post: Any, writer: Writer) -> None:
    plain = HELLO["messages"][0]
    message = {**plain, "name": None, "tool_calls": None, "tool_call_id": None, "refusal": None, "function_call": None}
    optional = ("stream", "stream_options", "n", "temperature", "stop", "tools", "tool_choice", "response_format")
    nulls = dict.fromkeys([*optional, "seed", "logprobs", "modalities", "store", "service_tier", "functions", "audio"])
    answer = await post({**nulls, "model": None, "messages": [message]})
    assert answer.status_code == 200, answer.text
    assert (writer.heard, writer.options) == ([[Message(role="user", content="Hello")]], [{}])


async def test_a_null_in_a_graphs_own_request_is_absent_too(post: Any, writer: Writer) -> None:
    message = {**HELLO["messages"][0], "tool_calls": None, "name": None}
    answer = await post({"messages": [message], "seed": None, "tools": None, "models": None}, "/api/v1/graphs/chat")
    assert answer.status_code == 200, answer.text
    assert writer.heard == [[Message(role="user", content="Hello")]]
    refused = await post({"messages": None}, "/api/v1/graphs/chat")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "messages")


async def test_what_has_no_bearing_on_the_answer_is_taken(post: Any) -> None:
    about = {"user": "u1", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "safety_identifier": "x"}
    neutral = {"n": 1, "logprobs": False, "modalities": ["text"], "presence_penalty": 0, "logit_bias": {}}
    echoed = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": [], "reasoning_content": "Hm."}
    answer = await post({**HELLO, **about, **neutral, "messages": [*HELLO["messages"], echoed, *HELLO["messages"]]})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "lacking",
    [
        {"functions": [{"name": "f"}]},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "alloy", "format": "wav"}},
        {"n": 2},
        {"store": True},
        {"reasoning_effort": "low"},
        {"web_search_options": {}},
        {"max_tokns": 5},
        {"messages": [{"role": "user", "content": "Hello", "charm": 1}]},
        {"stream_options": {"charm": 1}},
    ],
    ids=lambda lacking: next(iter(lacking)),
)
async def test_what_is_not_done_is_refused_by_name_and_not_dropped(post: Any, writer: Writer, lacking: Any) -> None:
    answer = await post({**HELLO, **lacking})
    error = answer.json()["error"]
    assert (answer.status_code, writer.heard) == (400, [])
    assert error["param"].split(".")[0] == next(iter(lacking))
    assert error["param"] in error["message"]


async def test_options_of_sampling_reach_the_model(post: Any, writer: Writer) -> None:
    options = {"presence_penalty": 0.5, "frequency_penalty": -1, "logit_bias": {"7": 5}, "top_k": 3, "min_p": 0.1}
    assert (await post({**HELLO, **options})).status_code == 200
    assert writer.options == [options]


async def test_long_conversations_and_long_messages_are_the_models_to_refuse(post: Any, writer: Writer) -> None:
    long = [{"role": "user", "content": "x" * 100_000}, *[{"role": "assistant", "content": "y" * 10_000}] * 500]
    assert (await post({**HELLO, "messages": [*long, *HELLO["messages"]]})).status_code == 200
    writer.says = PromptTooLong("messages", "make 9 tokens; this model's maximum context length is 8 tokens")
    answer = await post(HELLO)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")


async def test_a_model_that_is_not_there_has_openais_code(post: Any) -> None:
    answer = await post({**HELLO, "model": "gpt-9"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("stream", [False, True])
async def test_pictures_and_recordings_come_to_the_model_in_their_order(
    post: Any, writer: Writer, stream: bool
) -> None:
    recording = base64.b64encode(RECORDING.data).decode()
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PICTURE.url, "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": recording, "format": "wav"}},
    ]
    answer = await post({**HELLO, "stream": stream, "messages": [{"role": "user", "content": parts}]})
    assert answer.status_code == 200, answer.text
    wanted: list[Any] = [TextPart(text="What is this?"), ImagePart(image=PICTURE), AudioPart(audio=RECORDING)]
    assert writer.heard == [[Message(role="user", content=wanted)]]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}, "image_url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "image_url"),
        ({"type": "image_url", "image_url": PICTURE.url}, "image_url"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "input_audio"),
        ({"type": "input_image", "image_url": PICTURE.url}, ""),
        ({"type": "text"}, "text"),
        ("Hello", ""),
    ],
    ids=["address", "no picture", "bare", "no recording", "other type", "no text", "bare text"],
)
async def test_a_part_that_cannot_be_used_is_one_error_at_its_place(post: Any, part: Any, param: str) -> None:
    answer = await post({**HELLO, "messages": [{"role": "user", "content": [part]}]})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) in [
        (status, f"messages.0.content.0.{param}".rstrip(".")) for status in (400, 415)
    ]
    assert len(error["message"]) < 300 and "(" not in error["param"]
