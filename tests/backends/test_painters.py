"""Painters of other families than the contract is driven with, and what is laid over a painter's weights."""

import asyncio
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from deployments.errors import InvalidInput, ModelUnavailable
from deployments.media import Image
from deployments.pixels import open_picture, write_picture

from .painters import write_adapter, write_flux, write_reference_adapter, write_sdxl

pytestmark = pytest.mark.asyncio
RED = write_picture(PIL.Image.new("RGB", (96, 64), (200, 30, 30)))
MASK = write_picture(PIL.Image.new("L", (96, 64), 255))


def opened(image: Image) -> np.ndarray:
    return np.asarray(open_picture(image)).astype(int)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, painter_weights: Path) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter"), painter_weights)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory, painter_weights: Path) -> dict[str, str]:
    folder = write_reference_adapter(tmp_path_factory.mktemp("references"), painter_weights)
    return {"weights": str(folder), "file": "tiny.safetensors"}


class TestFamilies:
    @pytest.mark.parametrize("write", [write_sdxl, write_flux])
    async def test_a_family_paints_edits_and_inpaints_with_one_copy_of_its_weights(
        self, write: Callable[[Path], Path], tmp_path: Path, fresh: Any
    ) -> None:
        model = fresh("diffusers", weights=str(write(tmp_path)), width=64, height=64, guidance=3.0, max_side=256)
        pictures = await asyncio.gather(*(model.generate("a red dog", seed=seed) for seed in (1, 2)))
        assert [open_picture(picture).size for picture in pictures] == [(64, 64)] * 2
        assert (opened(pictures[0]) != opened(pictures[1])).any()
        for edited in (await model.edit(RED, "a dog", seed=1), await model.inpaint(RED, MASK, "a dog", seed=1)):
            assert open_picture(edited).size == (96, 64)
        networks = {
            id(getattr(pipeline.make, "unet", None) or pipeline.make.transformer)
            for pipeline in model._engine.pipelines.values()
        }
        assert len(networks) == 1

    async def test_one_made_to_edit_looks_at_the_picture(self, tmp_path: Path, fresh: Any) -> None:
        model = fresh("diffusers", weights=str(write_flux(tmp_path, kontext=True)), width=64, height=64, max_side=256)
        edited = [await model.edit(picture, "a red dog", seed=1, steps=1) for picture in (RED, MASK)]
        assert open_picture(edited[0]).size == (96, 64)
        assert (opened(edited[0]) != opened(edited[1])).any()
        with pytest.raises(InvalidInput) as raised:
            await model.edit(RED, "a red dog", strength=0.5)
        assert raised.value.field == "strength"
        with pytest.raises(ModelUnavailable, match="does not inpaint"):
            await model.inpaint(RED, MASK, "a dog")


class TestAdapters:
    async def test_each_call_names_the_adapter_it_wants(self, fresh: Any, adapter: Path) -> None:
        adapters = {
            "ink": {"weights": str(adapter)},
            "faint": {"weights": str(adapter), "strength": 0.0},
        }
        model, plain = fresh("diffusers", adapters=adapters), fresh("diffusers")
        expected = opened(await plain.generate("a red dog", seed=1))
        names = (None, "ink", "faint", None, "ink")
        made = await asyncio.gather(*(model.generate("a red dog", seed=1, adapter=name) for name in names))
        none, ink, faint, none_again, ink_again = map(opened, made)
        assert np.abs(none - expected).max() <= 2
        assert np.abs(none_again - expected).max() <= 2
        assert np.abs(faint - expected).max() <= 2
        assert np.abs(ink - ink_again).max() <= 2
        assert np.abs(ink - expected).max() > 2

    async def test_one_that_is_not_there_is_named_beside_those_that_are(self, fresh: Any, adapter: Path) -> None:
        model = fresh("diffusers", adapters={"ink": {"weights": str(adapter)}})
        for call in (model.generate("a dog", adapter="oil"), model.edit(RED, "a dog", adapter="oil")):
            with pytest.raises(InvalidInput, match="ink") as raised:
                await call
            assert raised.value.field == "adapter"

    async def test_what_is_no_adapter_is_refused_with_its_name(
        self, fresh: Any, tmp_path: Path, painter_weights: Path
    ) -> None:
        for weights in (str(tmp_path / "none"), str(tmp_path), str(painter_weights / "vae")):
            with pytest.raises(ModelUnavailable, match=r"ink|none|no weights"):
                fresh("diffusers", adapters={"ink": {"weights": weights}})
        (tmp_path / "pytorch_lora_weights.bin").write_bytes(b"\x80\x04.")
        with pytest.raises(ModelUnavailable, match="pickled"):
            fresh("diffusers", adapters={"ink": {"weights": str(tmp_path)}})

    async def test_of_several_files_one_has_to_be_named(self, fresh: Any, adapter: Path, tmp_path: Path) -> None:
        folder = tmp_path / "two"
        shutil.copytree(adapter, folder)
        (file,) = folder.glob("*.safetensors")
        shutil.copy(file, folder / "other.safetensors")
        with pytest.raises(ModelUnavailable, match="has 2 files"):
            fresh("diffusers", adapters={"ink": {"weights": str(folder)}})
        fresh("diffusers", adapters={"ink": {"weights": str(folder), "file": "other.safetensors"}})


class TestReferences:
    async def test_a_reference_changes_the_picture_and_none_does_not(
        self, fresh: Any, references: dict[str, str]
    ) -> None:
        model, plain = fresh("diffusers", references=references), fresh("diffusers")
        expected = opened(await plain.generate("a red dog", seed=1))
        calls: list[dict[str, Any]] = [{}, {"references": [RED]}, {"references": [MASK]}, {"references": [RED]}]
        made = await asyncio.gather(*(model.generate("a red dog", seed=1, **call) for call in calls))
        none, red, white, red_again = map(opened, made)
        assert np.abs(none - expected).max() <= 2
        assert np.abs(red - red_again).max() == 0
        assert np.abs(red - expected).max() > 2
        assert np.abs(red - white).max() > 0
        assert (await model.edit(RED, "a dog", seed=1)) == (await plain.edit(RED, "a dog", seed=1))

    @pytest.mark.parametrize("given", [[Image(b"nothing", "image/png")], [RED] * 5])
    async def test_bad_ones_are_named(self, fresh: Any, references: dict[str, str], given: list[Image]) -> None:
        with pytest.raises(InvalidInput) as raised:
            await fresh("diffusers", references=references).generate("a dog", references=given)
        assert raised.value.field == "references"

    async def test_a_model_without_them_says_so(self, load: Any) -> None:
        with pytest.raises(InvalidInput) as raised:
            await load("diffusers").generate("a dog", references=[RED])
        assert raised.value.field == "references"


class TestSmaller:
    async def test_smaller_numbers_paint_nearly_the_same(self, fresh: Any) -> None:
        small, plain = fresh("diffusers", quantization="torchao_int8"), fresh("diffusers")
        linear = [
            type(part.weight).__name__
            for part in small._engine.pipeline("generate").make.unet.modules()
            if type(part).__name__ == "Linear"
        ]
        assert set(linear) == {"Int8Tensor"}
        made = [opened(await model.generate("a red dog", seed=1)) for model in (small, plain)]
        assert 0 < np.abs(made[0] - made[1]).mean() < 10

    @pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
    async def test_a_library_that_is_not_there_is_named_with_the_extra_that_has_it(self, fresh: Any) -> None:
        with pytest.raises(ModelUnavailable, match=r"bitsandbytes.*extra `quantization`"):
            fresh("diffusers", quantization="bitsandbytes_nf4")

    async def test_compiling_is_asked_of_the_network_that_denoises(
        self, fresh: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        compiled = list[str]()
        monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
        fresh("diffusers", savings=["compile"])
        assert compiled == ["UNet2DConditionModel"]
