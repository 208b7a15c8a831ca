"""Calls that a model makes as it sees fit, in vLLM: weights that write one in Hermes' way, and vLLM's parser for it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deployments import BACKENDS
from deployments.capabilities import Message, Tool, ToolCall
from deployments.errors import InvalidInput, ModelUnavailable

from .harness import need, unloaded
from .weights import write_calling_model

pytestmark = pytest.mark.asyncio
HI = [Message(role="user", content="Is it raining in Paris?")]
TOOLS = [
    Tool(name="weather", description="The weather of a city", parameters={"properties": {"city": {"type": "string"}}})
]
MARKS = ("<tool_call>", "</tool_call>")
CALL = ['\n{"name": "weather", ', '"arguments": {"city": "Paris"}}\n']
PIECES = ["I", " look", " <to", "o.", MARKS[0], *CALL, MARKS[1]]  # the third only begins like a mark
SAID = "I look <too."


@pytest.fixture(scope="module", params=[(), MARKS], ids=["marks-are-text", "marks-are-special"])
async def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    need("vllm")
    folder = write_calling_model(tmp_path_factory.mktemp("calling"), PIECES, request.param)
    backend = unloaded("vllm")
    options = {"weights": str(folder), "dtype": "float32", "enforce_eager": True, "tool_parser": "hermes"}
    await backend.reconfigure(BACKENDS["vllm"].Options(**options))
    yield backend
    await backend._engine.retire()


async def test_a_call_of_the_models_own_is_read(model: Any) -> None:
    reply = await model.chat(HI, temperature=0, tools=TOOLS)
    assert (reply.text, reply.finish_reason) == (SAID, "tool_calls")
    assert [(call.name, json.loads(call.arguments)) for call in reply.tool_calls] == [("weather", {"city": "Paris"})]
    assert reply.completion_tokens == len(PIECES) + 1
    assert await model.chat(HI, temperature=0, tools=TOOLS) == reply


async def test_its_stream_says_the_text_at_once_and_none_of_the_call(model: Any) -> None:
    reply = await model.chat(HI, temperature=0, tools=TOOLS)
    deltas = [delta async for delta in model.stream(HI, temperature=0, tools=TOOLS)]
    assert [delta.text for delta in deltas] == ["I", " look", " ", "<too.", ""]
    assert all(not delta.tool_calls for delta in deltas[:-1])
    assert (deltas[-1].tool_calls, deltas[-1].finish_reason) == (reply.tool_calls, "tool_calls")
    assert deltas[-1].completion_tokens == reply.completion_tokens


async def test_a_call_that_is_cut_is_none(model: Any) -> None:
    asked = {"temperature": 0, "tools": TOOLS, "max_tokens": len(PIECES) - 2}
    reply = await model.chat(HI, **asked)
    assert (reply.tool_calls, reply.finish_reason) == ([], "length")
    assert reply.text.startswith(SAID)
    assert "".join([delta.text async for delta in model.stream(HI, **asked)]) == reply.text


async def test_without_tools_it_is_a_text(model: Any) -> None:
    for asked in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        reply = await model.chat(HI, temperature=0, **asked)
        assert (reply.tool_calls, reply.finish_reason) == ([], "stop")
        assert reply.text.startswith(SAID + MARKS[0]) or reply.text.startswith(SAID + CALL[0])


async def test_the_template_tells_of_the_tools_and_of_what_they_answered(model: Any) -> None:
    without = await model.chat(HI, max_tokens=1)
    told = await model.chat(HI, max_tokens=1, tools=TOOLS)
    assert told.prompt_tokens > without.prompt_tokens + len(TOOLS[0].description)
    call = ToolCall(id="a1", name="weather", arguments='{"city": "Paris"}')
    said = [Message(role="assistant", tool_calls=[call]), Message(role="tool", content="rain", tool_call_id="a1")]
    answered = await model.chat([*HI, *said], max_tokens=1, tools=TOOLS)
    assert answered.prompt_tokens > told.prompt_tokens + len("rain")


async def test_a_schema_beside_tools_of_its_own_choice_is_refused(model: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        await model.chat(HI, tools=TOOLS, json_schema={"type": "object"})
    assert refused.value.field == "json_schema"


async def test_another_parser_needs_no_other_engine(model: Any) -> None:
    engine, options = model._engine, model._options
    for name, said in (("hermez", "There are: hermes"), ("mistral", "is not for these weights")):
        with pytest.raises(ModelUnavailable, match=said):
            await model.reconfigure(options.model_copy(update={"tool_parser": name}))
    await model.reconfigure(options.model_copy(update={"tool_parser": None}))
    with pytest.raises(InvalidInput) as refused:
        await model.chat(HI, tools=TOOLS)
    assert refused.value.field == "tools"
    await model.reconfigure(options)
    assert (await model.chat(HI, temperature=0, tools=TOOLS)).tool_calls
    assert model._engine is engine
