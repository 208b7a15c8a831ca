"""LoRA adapters in vLLM: each is as if it were merged into the weights, whatever runs beside it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployments import BACKENDS
from deployments.capabilities import Message
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.language.vllm_adapters import found_adapters, lora_arguments

from .harness import need, unloaded
from .weights import write_adapter, write_language_model

HI = [Message(role="user", content="hi")]
GREEDY = {"max_tokens": 30, "temperature": 0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights, and two adapters for them."""
    base = write_language_model(tmp_path_factory.mktemp("base"))
    ranks = {"pirate": 4, "poet": 11}
    made = {name: write_adapter(base.parent / name, base, rank, seed=rank) for name, rank in ranks.items()}
    return {"base": base, **made}


@pytest.fixture(scope="module")
async def model(folders: dict[str, Path]) -> AsyncIterator[Any]:
    need("vllm")
    adapters = {name: str(folders[name]) for name in ("pirate", "poet")}
    backend = unloaded("vllm")
    await backend.reconfigure(_options(folders["base"], adapters))
    yield backend
    await backend._engine.retire()


def _options(weights: Path, adapters: dict[str, str]) -> Any:
    usual = {"dtype": "float32", "enforce_eager": True, "max_tokens": 20}
    return BACKENDS["vllm"].Options(weights=str(weights), adapters=adapters, **usual)


@pytest.mark.asyncio
async def test_an_adapter_is_as_if_merged_into_the_weights_beside_others(model: Any, folders: dict[str, Path]) -> None:
    names = [None, "pirate", "poet"]
    replies = await asyncio.gather(*(model.chat(HI, adapter=name, **GREEDY) for name in names))
    for name, reply in zip(names, replies, strict=True):
        merged = unloaded("transformers")
        weights = folders[name] / "merged" if name else folders["base"]
        await merged.reconfigure(merged.Options(weights=str(weights)))
        assert await merged.chat(HI, **GREEDY) == reply
    assert len({reply.text for reply in replies}) == 3
    streamed = [delta.text async for delta in model.stream(HI, adapter="poet", **GREEDY)]
    assert "".join(streamed) == replies[2].text


@pytest.mark.asyncio
async def test_an_unknown_adapter_is_told_the_nearest(model: Any) -> None:
    with pytest.raises(InvalidInput, match=r"'pirat' is none .* There are: pirate") as refused:
        await model.chat(HI, adapter="pirat")
    assert refused.value.field == "adapter"


@pytest.mark.asyncio
async def test_an_adapter_for_other_weights_is_refused_at_load_and_the_old_ones_stay(
    model: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    write_adapter(tmp_path / "wide", folders["base"])
    file = tmp_path / "wide" / "adapter_model.safetensors"
    save_file({name.replace("q_proj", "r_proj"): tensor for name, tensor in load_file(file).items()}, file)
    engine = model._engine
    with pytest.raises(ModelUnavailable, match="adapter 'wide' does not fit"):
        await model.reconfigure(_options(folders["base"], {"wide": str(tmp_path / "wide")}))
    assert model._engine is engine
    assert (await model.chat(HI, adapter="poet", **GREEDY)).text


class TestFolders:
    """What is refused before any engine starts: here no engine is needed."""

    def test_room_is_made_for_the_highest_rank(self, folders: dict[str, Path]) -> None:
        found = found_adapters({name: str(folders[name]) for name in ("pirate", "poet")})
        assert [adapter.rank for adapter in found] == [4, 11]
        expected = {"enable_lora": True, "max_loras": 2, "max_cpu_loras": 2, "max_lora_rank": 16}
        assert lora_arguments(found, on_cpu=False) == expected
        assert lora_arguments((), on_cpu=True) == {}

    def test_a_missing_folder_is_an_error(self) -> None:
        with pytest.raises(ModelUnavailable, match=r"adapter 'x' \(/no/such\) is not a folder"):
            found_adapters({"x": "/no/such"})

    def test_a_pickled_adapter_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04.")
        (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
        with pytest.raises(ModelUnavailable, match="pickled"):
            found_adapters({"x": str(tmp_path)})

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            (None, "FileNotFoundError"),
            ("{", "JSONDecodeError"),
            ({"peft_type": "IA3", "r": 4}, "is no LoRA but 'IA3'"),
            ({"peft_type": "LORA"}, "KeyError: 'r'"),
            ({"peft_type": "LORA", "r": "many"}, "ValueError"),
            ([], "AttributeError"),
        ],
    )
    def test_an_adapter_without_a_use_is_refused(self, config: Any, said: str, tmp_path: Path) -> None:
        (tmp_path / "adapter_model.safetensors").write_bytes(b"")
        if config is not None:
            (tmp_path / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        with pytest.raises(ModelUnavailable, match=said):
            found_adapters({"x": str(tmp_path)})

    def test_of_the_hub_safetensors_alone_are_fetched(
        self, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[str, str | None]] = []

        def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
            assert allow_patterns == ["adapter_model.safetensors", "adapter_config.json"]
            asked.append((name, revision))
            return str(folders["poet"])

        monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
        found = found_adapters({"x": "someone/poet@1f2e", "y": "someone/poet"})
        assert [(adapter.folder, adapter.rank) for adapter in found] == [(str(folders["poet"]), 11)] * 2
        assert asked == [("someone/poet", "1f2e"), ("someone/poet", None)]

    def test_a_rank_beyond_the_engines_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "adapter_model.safetensors").write_bytes(b"")
        config = {"peft_type": "LORA", "r": 4, "rank_pattern": {"q_proj": 1000}}
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        with pytest.raises(ModelUnavailable, match="rank 1000"):
            lora_arguments(found_adapters({"x": str(tmp_path)}), on_cpu=False)


def test_an_adapter_at_a_commit_is_found_in_the_weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLEY_WEIGHTS", str(tmp_path))  # as `medley models pull --from` leaves it: by its name alone
    folder = tmp_path / "org" / "law"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    (found,) = found_adapters({"law": f"org/law@{'a' * 40}"})
    assert (found.folder, found.rank) == (str(folder), 8)
