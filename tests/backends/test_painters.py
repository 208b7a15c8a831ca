"""What is laid over a painter's weights, and what makes them smaller or faster."""

import asyncio
import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from deployments.errors import InvalidInput, ModelUnavailable, OutOfMemory
from deployments.media import Image
from deployments.pixels import open_picture, write_picture

from .harness import need_module
from .painters import write_adapter, write_flux, write_qwen_image, write_reference_adapter, write_sdxl

pytestmark = pytest.mark.asyncio
RED = write_picture(PIL.Image.new("RGB", (96, 64), (200, 30, 30)))
BLUE = write_picture(PIL.Image.new("RGB", (96, 64), (30, 30, 200)))
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

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    async def test_they_go_with_smaller_numbers(self, fresh: Any, references: dict[str, str], dtype: str) -> None:
        pytest.importorskip("torchao", reason="torchao is not installed here: `make test` runs this test")
        model = fresh("diffusers", references=references, quantization="torchao_int8", dtype=dtype)
        calls: list[dict[str, Any]] = [{}, {"references": [RED]}, {"references": [MASK]}]
        made = [await model.generate("a red dog", seed=1, **call) for call in calls]
        assert len({one.data for one in made}) == 3

    async def test_they_do_not_go_with_sliced_attention(self, fresh: Any, references: dict[str, str]) -> None:
        with pytest.raises(ModelUnavailable, match="attention_slicing does not go with `references`"):
            fresh("diffusers", references=references, savings=["attention_slicing"])

    async def test_an_image_encoder_in_a_pickle_is_refused(
        self, fresh: Any, references: dict[str, str], tmp_path: Path
    ) -> None:
        import torch
        from transformers import CLIPVisionModelWithProjection

        folder = shutil.copytree(references["weights"], tmp_path / "pickled")
        at = folder / "models" / "image_encoder"
        encoder: Any = CLIPVisionModelWithProjection.from_pretrained(at)
        torch.save(encoder.state_dict(), at / "pytorch_model.bin")
        (at / "model.safetensors").unlink()
        with pytest.raises(ModelUnavailable, match=r"the reference adapter cannot be loaded: .*safetensors"):
            fresh("diffusers", references=references | {"weights": str(folder)})

    async def test_what_is_no_image_encoder_is_refused(
        self, fresh: Any, references: dict[str, str], tmp_path: Path
    ) -> None:
        folder = shutil.copytree(references["weights"], tmp_path / "other")
        at = folder / "models" / "image_encoder" / "config.json"
        at.write_text(at.read_text().replace("CLIPVisionModelWithProjection", "CLIPModel"))
        with pytest.raises(ModelUnavailable, match="its image encoder is a CLIPModel, not a CLIPVision"):
            fresh("diffusers", references=references | {"weights": str(folder)})

    @pytest.mark.parametrize("task", ["edit", "inpaint"])
    async def test_a_picture_is_painted_anew_in_the_look_of_another(
        self, fresh: Any, references: dict[str, str], task: str
    ) -> None:
        model, plain = fresh("diffusers", references=references), fresh("diffusers")
        given = (RED, MASK, "a dog") if task == "inpaint" else (RED, "a dog")
        expected = await getattr(plain, task)(*given, seed=1)
        calls: list[dict[str, Any]] = [{}, {"references": [BLUE]}, {"references": [MASK]}, {"references": [BLUE]}]
        made = await asyncio.gather(*(getattr(model, task)(*given, seed=1, **call) for call in calls))
        assert made[0] == expected
        assert made[1] == made[3] and len({made[0].data, made[1].data, made[2].data}) == 3
        assert opened(made[1]).shape == opened(RED).shape

    @pytest.mark.parametrize("task", ["generate", "edit"])
    @pytest.mark.parametrize("given", [[Image(b"nothing", "image/png")], [RED] * 5])
    async def test_bad_ones_are_named(
        self, fresh: Any, references: dict[str, str], given: list[Image], task: str
    ) -> None:
        model = fresh("diffusers", references=references)
        with pytest.raises(InvalidInput) as raised:
            await getattr(model, task)(*[RED][: task == "edit"], "a dog", references=given)
        assert raised.value.field == "references"

    @pytest.mark.parametrize("task", ["generate", "edit", "inpaint"])
    async def test_a_model_without_them_says_so(self, load: Any, task: str) -> None:
        pictures = {"generate": [], "edit": [RED], "inpaint": [RED, MASK]}[task]
        with pytest.raises(InvalidInput) as raised:
            await getattr(load("diffusers"), task)(*pictures, "a dog", references=[RED])
        assert raised.value.field == "references"


class TestSmaller:
    async def test_weights_that_would_stay_on_the_gpu_are_not_said_to_leave_it(self, fresh: Any) -> None:
        with pytest.raises(ModelUnavailable, match="model_offload saves nothing with"):
            fresh("diffusers", quantization="bitsandbytes_int8", savings=["model_offload"])

    async def test_smaller_numbers_paint_nearly_the_same(self, fresh: Any) -> None:
        pytest.importorskip("torchao", reason="torchao is not installed here: `make test` runs this test")
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

    @pytest.mark.parametrize("quantization", ["bitsandbytes_int8", "bitsandbytes_nf4"])
    async def test_bitsandbytes_is_refused_where_diffusers_sees_no_gpu(self, fresh: Any, quantization: str) -> None:
        import torch

        need_module("bitsandbytes")
        if torch.cuda.is_available():
            pytest.skip("there is a GPU here")
        with pytest.raises(ModelUnavailable, match="A GPU is needed for quantization"):
            fresh("diffusers", quantization=quantization)

    @pytest.mark.parametrize(
        ("quantization", "layer"), [("bitsandbytes_int8", "Linear8bitLt"), ("bitsandbytes_nf4", "Linear4bit")]
    )
    async def test_bitsandbytes_paints_nearly_the_same(
        self, quantization: str, layer: str, fresh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """bitsandbytes computes without a GPU, diffusers asks for one all the same: not here, unless there is one."""
        import torch

        need_module("bitsandbytes")
        from diffusers.quantizers.bitsandbytes.bnb_quantizer import BnB4BitDiffusersQuantizer, BnB8BitDiffusersQuantizer

        if not torch.cuda.is_available():
            for quantizer in (BnB4BitDiffusersQuantizer, BnB8BitDiffusersQuantizer):
                monkeypatch.setattr(quantizer, "validate_environment", lambda *args, **named: None)
                monkeypatch.setattr(quantizer, "update_device_map", lambda *args: {"": "cpu"})
        weights = {"weights": str(write_flux(tmp_path)), "width": 64, "height": 64}
        small, plain = fresh("diffusers", quantization=quantization, **weights), fresh("diffusers", **weights)
        parts = small._engine.pipeline("generate").make
        assert {type(part).__name__ for part in parts.transformer.modules() if "Linear" in type(part).__name__} == {
            layer
        }
        assert not any(type(part).__name__ == layer for part in parts.text_encoder.modules())
        made = [opened(await model.generate("a red dog", seed=1)) for model in (small, plain)]
        assert 0 < np.abs(made[0] - made[1]).mean() < 10
        assert (await small.edit(RED, "a dog", seed=1)) != (await small.edit(RED, "a dog", seed=2))


class TestAsItWas:
    """What diffusers does to the weights during a call, it undoes only where the call ends well."""

    async def test_sdxl_paints_on_after_its_last_step_found_no_memory(
        self, fresh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        model = fresh("diffusers", weights=str(write_sdxl(tmp_path)), dtype="float16", width=64, height=64)
        vae = model._engine.pipeline("generate").make.vae
        decode, seen = vae.decode, list[Any]()

        def full(*args: Any, **named: Any) -> Any:
            seen.append(vae.dtype)
            if len(seen) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return decode(*args, **named)

        monkeypatch.setattr(vae, "decode", full)
        with pytest.raises(OutOfMemory):
            await model.generate("a red dog", seed=1)
        assert (await model.generate("a red dog", seed=1)).media_type == "image/png"
        assert seen == [torch.float32] * 2 and vae.dtype == torch.float16

    @pytest.mark.parametrize("task", ["generate", "edit"])
    async def test_parts_that_take_turns_on_a_gpu_leave_it_however_a_call_ends(
        self, task: str, fresh: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, left = fresh("diffusers"), list[str]()
        engine, original = model._engine, model._engine.pipeline("generate").make
        saving = engine.options.model_copy(update={"savings": ["model_offload"]})  # as on a GPU
        monkeypatch.setattr(model, "_engine", replace(engine, options=saving))
        monkeypatch.setattr(original, "maybe_free_model_hooks", lambda: left.append("left"))
        monkeypatch.setattr(original.unet, "forward", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await getattr(model, task)(*[RED][: task == "edit"], "a red dog", seed=1)
        assert left == ["left"]


@pytest.mark.slow
class TestCompiled:
    async def test_the_network_that_denoises_is_compiled_and_paints_the_same(
        self, fresh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from torch._dynamo.utils import counters

        if shutil.which("g++") is None:
            pytest.skip("torch.compile needs a C++ compiler on a CPU, and there is no g++ here")
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))  # nothing of an earlier run
        monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no processes that outlive the test
        small = {"width": 64, "height": 64, "guidance": 1, "device": "cpu"}
        weights = {"weights": str(write_qwen_image(tmp_path / "qwen")), **small}
        plain, compiled = fresh("diffusers", **weights), fresh("diffusers", savings=["compile"], **weights)
        before = counters["stats"]["unique_graphs"]
        made = [opened(await model.generate("a red dog", seed=1)) for model in (plain, compiled)]
        assert np.abs(made[0] - made[1]).max() <= 2
        graphs = counters["stats"]["unique_graphs"]
        assert graphs > before
        assert list((tmp_path / "compiled").rglob("*.so"))
        await compiled.generate("a red dog", seed=2)
        assert counters["stats"]["unique_graphs"] == graphs  # what is compiled stays compiled

    async def test_without_a_compiler_it_is_refused_at_once(self, fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CXX", "/nowhere/g++")
        with pytest.raises(ModelUnavailable, match=r"needs a C\+\+ compiler"):
            fresh("diffusers", savings=["compile"], device="cpu")
