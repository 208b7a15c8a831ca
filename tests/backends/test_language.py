"""The contract of `Language`."""

import asyncio
import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deployments import BACKENDS
from deployments.capabilities import Delta, Language, Message, Reply, Tool, ToolCall
from deployments.errors import InvalidInput, ModelUnavailable, OutOfMemory, PromptTooLong
from deployments.language.writer import Writer
from deployments.media import Audio, Image
from deployments.messages import AudioPart, ImagePart, TextPart

from .harness import offering, other_options, reload_in_flight, seconds_to_stop, unloaded, watch
from .schemas import ODD
from .weights import CONTEXT, byte_tokenizer, write_calling_model, write_gguf, write_language_model

pytestmark = pytest.mark.asyncio
NAMES = offering(Language)
OF_WEIGHTS = ("llama_cpp", "transformers", "vllm")  # those that read a chat template here
OF_TOKENIZER = ("transformers", "vllm")  # those with a tokenizer in Python
TOKENIZER = byte_tokenizer("")  # of all of them
HI = [Message(role="system", content="Be brief."), Message(role="user", content="hi")]
CARD = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 12},
        "mood": {"enum": ["glad", "sad"]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "required": ["title", "mood", "stars"],
    "additionalProperties": False,
}
TOOLS = [
    Tool(
        name="weather",
        description="The weather of a city",
        parameters={
            "properties": {
                "city": {"enum": ["Paris", "Rome"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "days"],
        },
    ),
    Tool(name="now", description="What time it is"),
]
PARIS = ToolCall(id="a1b2c3d4e", name="weather", arguments='{"city": "Paris", "days": 1}')
PICTURE, RECORDING = Image(b"...", "image/png"), Audio(b"...", "audio/wav")
MARKS = ("<tool_call>", "</tool_call>")
# What a model that calls tools writes, token by token; the fourth only begins like a mark.
PIECES = ["I", " look", " <to", "o.", MARKS[0], '\n{"name": "weather", ', '"arguments": {"city": "Rome"}}\n', MARKS[1]]
FOLD = {"max_tokens": 60, "temperature": 1.0, "seed": 3}  # a reply with some odd characters in it


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


async def test_a_reply_has_its_text_its_reason_and_its_counts(model: Any) -> None:
    reply = await model.chat(HI, max_tokens=30, temperature=0)
    assert isinstance(reply, Reply)
    assert reply.text
    assert reply.finish_reason in ("stop", "length")
    assert reply.prompt_tokens > len("Be brief.hi")
    assert (reply.completion_tokens == 30) == (reply.finish_reason == "length")


async def test_a_longer_conversation_costs_its_tokens(model: Any) -> None:
    short = await model.chat(HI, max_tokens=1)
    longer = await model.chat([*HI, Message(role="assistant", content="0123456789"), HI[1]], max_tokens=1)
    assert longer.prompt_tokens > short.prompt_tokens + 10


async def test_temperature_zero_ignores_the_seed(model: Any) -> None:
    replies = [await model.chat(HI, max_tokens=30, temperature=0, seed=seed) for seed in (1, 2, None)]
    assert replies[0] == replies[1] == replies[2]


async def test_a_seed_decides_the_text_also_beside_other_calls(model: Any) -> None:
    alone = await model.chat(HI, **FOLD)
    other = {**FOLD, "seed": 4}
    beside = await asyncio.gather(*(model.chat(HI, **(FOLD if i % 2 else other)) for i in range(6)))
    assert all(reply == alone for reply in beside[1::2])
    assert all(reply.text != alone.text for reply in beside[::2])


async def test_without_a_seed_texts_differ(model: Any) -> None:
    texts = {(await model.chat(HI, max_tokens=30, temperature=1)).text for _ in range(3)}
    assert len(texts) > 1


async def test_a_low_top_p_is_nearly_greedy(model: Any) -> None:
    greedy = await model.chat(HI, max_tokens=20, temperature=0)
    for seed in range(3):
        assert await model.chat(HI, max_tokens=20, temperature=1, top_p=1e-6, seed=seed) == greedy


async def test_the_stream_is_the_reply_in_pieces(model: Any) -> None:
    reply = await model.chat(HI, **FOLD)
    deltas = [delta async for delta in model.stream(HI, **FOLD)]
    assert Delta.join(deltas) == reply
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert all(delta.text for delta in deltas[:-1])


async def test_the_first_piece_comes_long_before_the_last(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(model, monkeypatch)
    stream = model.stream(HI, max_tokens=2000, temperature=0)
    await anext(stream)
    assert not seen.ended.is_set()
    await stream.aclose()


async def test_a_stop_string_ends_the_reply_before_it(model: Any) -> None:
    whole = await model.chat(HI, **FOLD)
    words = re.findall(r"[ -~]{2,}", whole.text)
    stop = words[-1][1:]
    reply = await model.chat(HI, **FOLD, stop=["never in there", stop])
    assert reply.finish_reason == "stop"
    assert reply.text == whole.text[: whole.text.index(stop)]
    assert reply.completion_tokens < whole.completion_tokens
    streamed = [delta.text async for delta in model.stream(HI, **FOLD, stop=[stop])]
    assert "".join(streamed) == reply.text


async def test_a_stop_string_that_is_only_begun_is_delivered_in_the_end(model: Any) -> None:
    whole = await model.chat(HI, **FOLD)
    assert await model.chat(HI, **FOLD, stop=[whole.text[-3:] + "and more"]) == whole


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("messages", {"messages": []}),
        ("messages", {"messages": [Message(role="user", content="x" * 30_000)]}),
        ("messages", {"max_tokens": 10_000_000}),
        ("max_tokens", {"max_tokens": 0}),
        ("temperature", {"temperature": float("nan")}),
        ("temperature", {"temperature": -0.1}),
        ("top_p", {"top_p": 0}),
        ("top_p", {"top_p": float("nan")}),
        ("top_k", {"top_k": 0}),
        ("min_p", {"min_p": float("nan")}),
        ("presence_penalty", {"presence_penalty": 2.1}),
        ("frequency_penalty", {"frequency_penalty": float("nan")}),
        ("logit_bias", {"logit_bias": {"one": 1}}),
        ("logit_bias", {"logit_bias": {"1": 101}}),
        ("stop", {"stop": [""]}),
        ("stop", {"stop": ["x"] * 99}),
        ("json_schema", {"json_schema": {"type": "strin"}}),
        ("json_schema", {"json_schema": {"type": "object", "required": "a"}}),
        ("tools", {"tools": [TOOLS[0], TOOLS[0]]}),
        ("tools", {"tools": [Tool(name="x", parameters={"properties": 3})], "tool_choice": "x"}),
        ("tool_choice", {"tools": TOOLS, "tool_choice": "whether"}),
        ("tool_choice", {"tool_choice": "required"}),
        ("adapter", {"adapter": "nobody"}),
        ("charm", {"charm": 0.5}),  # an option that `ChatOptions` may have one day, and no backend has learned
        ("messages", {"messages": [*HI, Message(role="tool", content="rain", tool_call_id="none")]}),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as chatting:
        await model.chat(**{"messages": HI, **arguments})
    assert chatting.value.field == field
    with pytest.raises(InvalidInput) as streaming:
        [delta async for delta in model.stream(**{"messages": HI, **arguments})]
    assert streaming.value.args == chatting.value.args


async def test_an_option_that_is_none_is_left_to_the_model(model: Any) -> None:
    plain = await model.chat(HI, max_tokens=5, temperature=0)
    assert await model.chat(HI, max_tokens=5, temperature=0, adapter=None, charm=None, stop=None) == plain


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 3}])
async def test_a_reply_is_held_to_a_json_schema(model: Any, sampling: dict[str, Any]) -> None:
    asked = {**sampling, "json_schema": CARD, "max_tokens": 300}
    reply = await model.chat(HI, **asked)
    jsonschema.validate(json.loads(reply.text), CARD)
    assert (reply.finish_reason, reply.tool_calls) == ("stop", [])
    deltas = [delta async for delta in model.stream(HI, **asked)]
    assert Delta.join(deltas) == reply
    assert len(deltas) > 3


async def test_a_schemas_reply_that_is_cut_says_so(model: Any) -> None:
    reply = await model.chat(HI, temperature=0, json_schema=CARD, max_tokens=4)
    assert (reply.finish_reason, reply.text[:1]) == ("length", "{")


@pytest.mark.parametrize("choice", ["weather", "now", "required"])
async def test_a_call_that_is_insisted_on_is_made_by_any_weights(model: Any, choice: str) -> None:
    asked = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 900, "temperature": 0}
    reply = await model.chat(HI, **asked)
    assert (reply.text, reply.finish_reason) == ("", "tool_calls")
    tools = {tool.name: tool for tool in TOOLS}
    assert {call.name for call in reply.tool_calls} <= ({choice} if choice in tools else set(tools))
    for call in reply.tool_calls:
        jsonschema.validate(json.loads(call.arguments), tools[call.name].parameters)
    assert 1 <= len({call.id for call in reply.tool_calls}) == len(reply.tool_calls)
    assert [delta async for delta in model.stream(HI, **asked)] == Delta.split(reply)


async def test_a_call_that_is_cut_is_left_out(model: Any) -> None:
    reply = await model.chat(HI, tools=TOOLS, tool_choice="weather", max_tokens=5, temperature=0)
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("", [], "length")


async def test_tools_that_may_not_be_called_are_as_none(model: Any) -> None:
    plain = await model.chat(HI, max_tokens=20, temperature=0)
    assert await model.chat(HI, max_tokens=20, temperature=0, tools=TOOLS, tool_choice="none") == plain


async def test_tools_are_left_to_the_model_and_never_a_refusal(model: Any) -> None:
    asks = [*HI, Message(role="user", content="weather?")]
    plain = await model.chat(asks, max_tokens=30, temperature=0)
    reply = await model.chat(asks, max_tokens=30, temperature=0, tools=TOOLS)
    if reply.tool_calls:
        assert [call.name for call in reply.tool_calls] == ["weather"]
        assert reply.prompt_tokens > plain.prompt_tokens
    else:  # the chat template has no place for tools
        assert reply == plain


async def test_a_tools_answer_is_read(model: Any) -> None:
    asked = [*HI, Message(role="assistant", tool_calls=[PARIS])]
    short, long = [
        await model.chat([*asked, Message(role="tool", tool_call_id=PARIS.id, content=content)], max_tokens=8)
        for content in ("rain", "rain" * 10)
    ]
    assert short.prompt_tokens > (await model.chat(HI, max_tokens=8)).prompt_tokens + len(PARIS.arguments)
    assert long.prompt_tokens == short.prompt_tokens + 4 * 9


@pytest.mark.parametrize("name", OF_WEIGHTS)
async def test_arguments_that_are_no_object_name_messages(name: str, load: Any) -> None:
    for arguments in ("{", "[]", "3"):
        call = PARIS.model_copy(update={"arguments": arguments})
        with pytest.raises(InvalidInput, match=r"messages: .*no JSON object"):
            await load(name).chat([*HI, Message(role="assistant", tool_calls=[call])])


@pytest.mark.parametrize("name", OF_WEIGHTS)
async def test_a_schema_beside_tools_is_refused_by_name(name: str, load: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        await load(name).chat(HI, tools=TOOLS, tool_choice="now", json_schema=CARD)
    assert refused.value.field == "json_schema"


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("name", OF_WEIGHTS)
async def test_an_odd_schema_is_kept_or_refused_and_the_engine_goes_on(name: str, odd: str, load: Any) -> None:
    model = load(name)
    try:
        async with asyncio.timeout(20):
            reply = await model.chat(HI, json_schema=ODD[odd], max_tokens=200, temperature=0)
    except InvalidInput as refused:
        assert refused.field == "json_schema"
    else:
        if reply.finish_reason == "stop":
            jsonschema.validate(json.loads(reply.text), ODD[odd])
    assert (await model.chat(HI, max_tokens=5, temperature=0)).completion_tokens == 5


@pytest.mark.parametrize("name", OF_WEIGHTS)
async def test_too_long_a_conversation_is_told_its_counts(name: str, load: Any) -> None:
    with pytest.raises(InvalidInput, match=rf"make 50\d\d tokens; .* length is {CONTEXT} tokens"):
        await load(name).chat([Message(role="user", content="x" * 5000)])


@pytest.mark.parametrize("name", OF_TOKENIZER)
async def test_far_too_long_a_conversation_is_refused_unread(
    name: str, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(name)
    monkeypatch.setattr(type(model._engine.tokenizer), "apply_chat_template", None)
    with pytest.raises(PromptTooLong, match=r"6,000,000 characters"):
        await model.chat([Message(role="user", content="x" * 6_000_000)])


@pytest.mark.parametrize("name", OF_WEIGHTS)
async def test_a_bias_decides_between_tokens_and_is_for_tokens_that_there_are(name: str, load: Any) -> None:
    model = load(name)
    token = TOKENIZER("q").input_ids[0]
    how: dict[str, Any] = {"max_tokens": 6, "temperature": 0}
    assert (await model.chat(HI, **how, logit_bias={str(token): 100})).text == "q" * 6
    with pytest.raises(InvalidInput, match=r"logit_bias: names token 999999"):
        await model.chat(HI, **how, logit_bias={"999999": 1})


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
@pytest.mark.parametrize("name", OF_WEIGHTS)
async def test_a_penalty_is_for_what_was_written(name: str, penalty: str, load: Any) -> None:
    model = load(name)
    tokens = [str(TOKENIZER(letter).input_ids[0]) for letter in "qz"]
    bias = {tokens[0]: 100, tokens[1]: 99}
    how: dict[str, Any] = {"max_tokens": 6, "temperature": 0, "logit_bias": bias}
    plain, changed = await model.chat(HI, **how), await model.chat(HI, **how, **{penalty: 2})
    assert plain.text == "q" * 6
    assert changed.text.startswith("qz") and changed.completion_tokens == 6


@pytest.mark.parametrize("sampling", [{"top_k": 1}, {"min_p": 1}])
@pytest.mark.parametrize("name", OF_WEIGHTS)
async def test_a_draw_from_the_likeliest_token_alone_is_that(name: str, sampling: dict[str, Any], load: Any) -> None:
    greedy = await load(name).chat(HI, max_tokens=12, temperature=0)
    assert await load(name).chat(HI, max_tokens=12, temperature=2, seed=5, **sampling) == greedy


@pytest.mark.parametrize("part", [ImagePart(image=PICTURE), AudioPart(audio=RECORDING)], ids=["picture", "recording"])
@pytest.mark.parametrize("name", OF_WEIGHTS)
async def test_what_the_model_cannot_read_is_refused_by_its_place(name: str, part: Any, load: Any) -> None:
    asks = [*HI, Message(role="user", content=[TextPart(text="What is this?"), part])]
    with pytest.raises(InvalidInput, match=rf"messages.{len(HI)}.content.1: is a .* cannot read"):
        await load(name).chat(asks)


@pytest.mark.parametrize("name", OF_WEIGHTS)
async def test_texts_in_parts_are_one_text(name: str, load: Any) -> None:
    how: dict[str, Any] = {"max_tokens": 6, "temperature": 0}
    parts: list[Any] = [TextPart(text="Good "), TextPart(text="day")]
    whole = await load(name).chat([Message(role="user", content="Good day")], **how)
    assert await load(name).chat([Message(role="user", content=parts)], **how) == whole


@pytest.mark.parametrize("name", OF_WEIGHTS)
async def test_a_template_that_refuses_the_roles_names_messages(name: str, load: Any) -> None:
    with pytest.raises(InvalidInput, match=r"messages: .*system comes first"):
        await load(name).chat([HI[1], HI[0]])


@pytest.mark.parametrize("name", OF_TOKENIZER)
async def test_without_a_template_the_roles_are_written_out(
    name: str, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(name)
    monkeypatch.setattr(model._engine.tokenizer, "chat_template", None)
    reply = await model.chat(HI, max_tokens=1)
    assert reply.prompt_tokens == len("system: Be brief.\nuser: hi\nassistant:")


async def test_cancelling_stops_the_writing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    call = model.chat(HI, max_tokens=3500, temperature=0)
    assert await seconds_to_stop(model, call, monkeypatch) < 0.5


async def test_closing_the_stream_stops_the_writing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(model, monkeypatch)
    stream = model.stream(HI, max_tokens=3500, temperature=0)
    await anext(stream)
    await stream.aclose()
    assert await asyncio.to_thread(seen.ended.wait, 1)


@pytest.mark.parametrize("name", NAMES)
async def test_other_weights_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"max_tokens": 300, "temperature": 0.0}
    before = await load(name).chat(HI, **asked)
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    weights = write_language_model(tmp_path, seed=1)
    local = write_gguf(tmp_path / "gguf", weights) if name == "llama_cpp" else weights
    other = options_of(name, **other_options(name, {"weights": str(local)}))
    assert await reload_in_flight(model, lambda: model.chat(HI, **asked), other, monkeypatch) == before
    assert await model.chat(HI, **asked) != before


class TestTransformers:
    """What only the transformers backend promises."""

    async def test_without_a_limit_a_reply_has_the_rest_of_the_context(self, tmp_path: Path) -> None:
        folder, model = write_language_model(tmp_path), unloaded("transformers")
        await model.reconfigure(BACKENDS["transformers"].Options(weights=str(folder)))
        reply = await model.chat([Message(role="user", content="x" * (CONTEXT - 700))], temperature=0)
        assert (reply.prompt_tokens + reply.completion_tokens, reply.finish_reason) == (CONTEXT, "length")

    @pytest.mark.parametrize("special", [(), MARKS], ids=["marks-are-text", "marks-are-special"])
    async def test_a_call_of_the_models_own_is_read(self, special: tuple[str, ...], tmp_path: Path) -> None:
        folder, model = write_calling_model(tmp_path, PIECES, special), unloaded("transformers")
        await model.reconfigure(BACKENDS["transformers"].Options(weights=str(folder)))
        reply = await model.chat(HI, temperature=0, tools=TOOLS)
        assert (reply.text, reply.finish_reason) == ("I look <too.", "tool_calls")
        assert [(call.name, json.loads(call.arguments)) for call in reply.tool_calls] == [("weather", {"city": "Rome"})]
        deltas = [delta async for delta in model.stream(HI, temperature=0, tools=TOOLS)]
        assert Delta.join(deltas) == reply
        assert len(deltas) > 2 and not any(delta.tool_calls for delta in deltas[:-1])
        plain = await model.chat(HI, temperature=0)
        assert plain.tool_calls == [] and plain.prompt_tokens < reply.prompt_tokens
        await model.reconfigure(BACKENDS["transformers"].Options(weights=str(folder), optional_tools="left_out"))
        assert await model.chat(HI, temperature=0, tools=TOOLS) == plain

    async def test_an_end_token_finishes_with_stop_and_is_counted(self, load: Any, monkeypatch: Any) -> None:
        model = load("transformers")
        whole = await model.chat(HI, max_tokens=20, temperature=0)
        first = model._engine.tokenizer(whole.text[:1]).input_ids[0]
        monkeypatch.setattr(model, "_engine", replace(model._engine, ends=frozenset([first])))
        reply = await model.chat(HI, max_tokens=20, temperature=0)
        assert (reply.text, reply.finish_reason, reply.completion_tokens) == ("", "stop", 1)

    async def test_a_form_needs_an_end_token(self, load: Any, monkeypatch: Any) -> None:
        model = load("transformers")
        monkeypatch.setattr(model, "_engine", replace(model._engine, ends=frozenset()))
        with pytest.raises(InvalidInput, match=r"json_schema: .*no token that ends"):
            await model.chat(HI, json_schema=CARD)

    async def test_characters_of_several_tokens_arrive_whole(self, load: Any) -> None:
        tokenizer, texts = load("transformers")._engine.tokenizer, []
        said = "né 😀 日本 end"
        writer = Writer(tokenizer, frozenset(), (), 999, texts.append, threading.Event())
        for token in tokenizer(said).input_ids:
            writer.take(token)
        writer.finish("stop")
        assert texts == list(said)

    async def test_pickled_weights_are_refused(self, options_of: Any, tmp_path: Path) -> None:
        (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
        with pytest.raises(ModelUnavailable, match="pickled"):
            await self._loading(options_of, tmp_path)

    async def test_damaged_weights_are_refused(self, options_of: Any, tmp_path: Path) -> None:
        weights = write_language_model(tmp_path) / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
        with pytest.raises(ModelUnavailable, match="cannot be loaded"):
            await self._loading(options_of, tmp_path)

    async def test_incomplete_weights_are_refused(self, options_of: Any, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = write_language_model(tmp_path) / "model.safetensors"
        tensors = load_file(weights)
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
        with pytest.raises(ModelUnavailable, match=r"lacks 1 of its weights, such as model\.layers\.1"):
            await self._loading(options_of, tmp_path)

    async def test_a_full_device_is_out_of_memory(self, load: Any, monkeypatch: Any) -> None:
        import torch

        def full(*args: Any, **kwargs: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        model = load("transformers")
        monkeypatch.setattr(model._engine.model, "generate", full)
        with pytest.raises(OutOfMemory):
            await model.chat(HI)

    async def _loading(self, options_of: Any, folder: Path) -> None:
        model = unloaded("transformers")
        await model.reconfigure(options_of("transformers", weights=str(folder)))
