"""What only the llama.cpp backend promises."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments import BACKENDS
from deployments.capabilities import Message, Tool
from deployments.errors import ModelUnavailable

from .harness import unloaded
from .weights import write_calling_model, write_gguf

HI = [Message(role="user", content="hi")]
WEATHER = Tool(name="weather", parameters={"properties": {"city": {"type": "string"}}})
PIECES = ["I", " look.", "<tool_call>", '\n{"name": "weather", ', '"arguments": {"city": "Rome"}}\n', "</tool_call>"]


async def loaded(folder: Path, **options: Any) -> Any:
    model = unloaded("llama_cpp")
    await model.reconfigure(BACKENDS["llama_cpp"].Options(weights=str(folder), threads=1, **options))
    return model


async def test_the_likeliest_tokens_are_those_of_the_same_weights_in_transformers(load: Any) -> None:
    asked: dict[str, Any] = {"max_tokens": 40, "temperature": 0}
    assert (await load("llama_cpp").chat(HI, **asked)).text == (await load("transformers").chat(HI, **asked)).text


async def test_without_a_limit_a_reply_has_the_rest_of_the_context(gguf_weights: Path) -> None:
    model = await loaded(gguf_weights, context=256)
    reply = await model.chat([Message(role="user", content="x" * 150)], temperature=0)
    assert (reply.prompt_tokens + reply.completion_tokens, reply.finish_reason) == (256, "length")


async def test_the_weights_bound_the_context(gguf_weights: Path) -> None:
    assert (await loaded(gguf_weights, context=8192, parallel=1))._engine.context == 4096


async def test_a_call_of_the_models_own_is_read(tmp_path: Path) -> None:
    folder = write_gguf(tmp_path / "gguf", write_calling_model(tmp_path / "weights", PIECES, ("<tool_call>",)))
    model = await loaded(folder, context=512)
    reply = await model.chat(HI, temperature=0, tools=[WEATHER])
    assert (reply.text.strip(), reply.finish_reason) == ("I look.", "tool_calls")
    assert [(call.name, json.loads(call.arguments)) for call in reply.tool_calls] == [("weather", {"city": "Rome"})]
    plain = await model.chat(HI, temperature=0)
    assert plain.tool_calls == [] and plain.prompt_tokens < reply.prompt_tokens
    left_out = await loaded(folder, context=512, optional_tools="left_out")
    assert await left_out.chat(HI, temperature=0, tools=[WEATHER]) == plain


async def test_the_system_message_is_for_conversations_without_one(gguf_weights: Path) -> None:
    plain, brief = await loaded(gguf_weights), await loaded(gguf_weights, system="Be brief.")
    said = [Message(role="system", content="Be brief."), *HI]
    counts = [(await model.chat(talk, max_tokens=1)).prompt_tokens for model in (plain, brief) for talk in (HI, said)]
    assert counts[0] < counts[1] == counts[2] == counts[3]


async def test_nobody_reaches_the_server_that_comes_with_the_engine(gguf_weights: Path) -> None:
    def listening() -> set[Any]:
        found = psutil.Process().net_connections("all")
        return {one.laddr for one in found if one.status == psutil.CONN_LISTEN or "llama" in str(one.laddr)}

    before = listening()
    model = await loaded(gguf_weights)
    (socket,) = listening() - before
    assert socket.endswith("/llama.sock") and not Path(socket).parent.exists()
    assert (await model.chat(HI, max_tokens=1)).completion_tokens == 1


def _changed(key: bytes, value: bytes) -> Callable[[bytes], bytes]:
    """A GGUF whose metadata has another value for a number."""

    def change(data: bytes) -> bytes:
        at = data.index(key) + len(key) + 4
        return data[:at] + value + data[at + len(value) :]

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\x80\x04." * 100,
        lambda data: data[:1000],
        lambda data: data[:-5000],
        lambda data: data[:8] + struct.pack("<Q", 2**60) + data[16:],
        lambda data: data[:16] + struct.pack("<Q", 2**60) + data[24:],
        lambda data: data[:24] + struct.pack("<Q", 2**50) + data[32:],
        _changed(b"llama.block_count", struct.pack("<I", 60)),
        _changed(b"llama.attention.head_count", struct.pack("<I", 0)),
        _changed(b"llama.embedding_length", struct.pack("<I", 2**31)),
    ],
    ids=["empty", "pickle", "header", "cut", "tensors", "metadata", "key", "layers", "heads", "width"],
)
async def test_a_gguf_that_is_damaged_or_lies_about_its_sizes_is_refused_and_named(
    damage: Callable[[bytes], bytes], gguf_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.gguf").write_bytes(damage((gguf_weights / "model.gguf").read_bytes()))
    with pytest.raises(ModelUnavailable, match=f"{tmp_path} cannot be loaded"):
        await loaded(tmp_path)


async def test_a_context_that_the_weights_only_claim_takes_no_memory(gguf_weights: Path, tmp_path: Path) -> None:
    claim = _changed(b"llama.context_length", struct.pack("<I", 2**31 - 1))
    (tmp_path / "model.gguf").write_bytes(claim((gguf_weights / "model.gguf").read_bytes()))
    assert (await loaded(tmp_path, context=512, parallel=1))._engine.context == 512


async def test_of_several_files_one_is_named(gguf_weights: Path, tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes((gguf_weights / "model.gguf").read_bytes())
    with pytest.raises(ModelUnavailable, match=r"several GGUFs \(a\.gguf, b\.gguf\); say which `file`"):
        await loaded(tmp_path)
    assert (await (await loaded(tmp_path, file="b.gguf")).chat(HI, max_tokens=1)).completion_tokens == 1
    with pytest.raises(ModelUnavailable, match=r"c\.gguf is needed"):
        await loaded(tmp_path, file="c.gguf")
    with pytest.raises(ModelUnavailable, match="say which `file`"):
        await loaded(Path("nobody/nothing"))
