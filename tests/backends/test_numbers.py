"""What a network computes on a GPU, or in smaller numbers, is nearly what it computes on a CPU in float32."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.media import Image

from .painters import write_flux, write_qwen_image, write_sdxl
from .pictures import disc, disc_mask, opened

pytestmark = pytest.mark.asyncio
HALVES = ("float16", "bfloat16")
SPOKEN = "The quick brown fox jumps over the lazy dog."
LARGEST = 0.03  # mean difference, of what an answer can differ at most


def levels(image: Image) -> np.ndarray:
    """A picture's values, of 1."""
    values = np.asarray(opened(image))
    return values / np.iinfo(values.dtype).max if values.dtype.kind in "ui" else values.astype(float) / 65_535


async def logits(model: Any) -> np.ndarray:
    """Of the tokens that may follow those of a text, by the largest."""
    import torch

    engine = model._engine
    tokens = engine.tokenizer(SPOKEN, return_tensors="pt").input_ids.to(engine.model.device)
    with torch.inference_mode():
        found = engine.model(tokens).logits[0].float().cpu().numpy()
    return found / np.abs(found).max()


async def samples(model: Any) -> np.ndarray:
    """Of speech without the noise that is drawn on the device, so otherwise on each."""
    from deployments.text_to_speech.mms import _say

    engine, said = model._engine, list[np.ndarray]()
    speaker = engine.speaker(None)
    speaker.network.noise_scale = speaker.network.noise_scale_duration = 0.0
    await asyncio.to_thread(_say, engine, speaker, SPOKEN, 1.0, said.append, threading.Event())
    return np.concatenate(said)


async def painted(model: Any, steps: int = 3) -> np.ndarray:
    return levels(await model.generate("a red dog", seed=1, steps=steps))


ANSWERS: dict[str, Callable[[Any], Awaitable[np.ndarray]]] = {
    "diffusers": painted,
    "mms": samples,
    "transformers": logits,
}
PICTURES: dict[str, Callable[[Any], Awaitable[Image]]] = {
    "cyclegan": lambda model: model.translate(disc((64, 64), (32, 32), 20)),
    "depth_anything": lambda model: model.estimate(disc()),
    "sam2": lambda model: model.segment(disc(), boxes=[(120, 40, 320, 240)]),
    "swin2sr": lambda model: model.upscale(disc((64, 48), (32, 24), 16)),
    "vit_mae": lambda model: model.reconstruct(disc(), disc_mask()),
}
FAMILIES: dict[str, Callable[[Path], Path]] = {"sdxl": write_sdxl, "flux": write_flux, "qwen_image": write_qwen_image}


async def answer(name: str, model: Any) -> np.ndarray:
    return await ANSWERS[name](model) if name in ANSWERS else levels(await PICTURES[name](model))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    assert np.isfinite(one).all()
    return float(np.abs(one - other).mean())


def need_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here: it would be compared with itself")


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch draws other noise in halves than in float32; here it is drawn in float32, and rounded."""
    import torch

    drawn = torch.randn

    def rounded(*shape: Any, dtype: Any = None, **how: Any) -> Any:
        return drawn(*shape, **how).to(dtype or torch.float32)

    monkeypatch.setattr(torch, "randn", rounded)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`folder(family)`: that of its tiny weights."""
    return cache(lambda family: FAMILIES[family](tmp_path_factory.mktemp(family)))


@pytest.mark.parametrize("name", [*ANSWERS, *PICTURES])
async def test_a_gpu_computes_what_a_cpu_does(
    name: str, fresh: Any, record_property: Callable[[str, object], None]
) -> None:
    need_gpu()
    exact: dict[str, Any] = {"dtype": "float32"} if name in ("diffusers", "transformers") else {}
    made = [await answer(name, fresh(name, device=device, **exact)) for device in ("cuda", "cpu")]
    found = difference(*made)
    assert found < LARGEST
    record_property(f"{name}: a GPU beside a CPU, mean difference of 1", found)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["diffusers", "transformers"])
async def test_smaller_numbers_answer_nearly_the_same(
    name: str, dtype: str, fresh: Any, same_noise: None, record_property: Callable[[str, object], None]
) -> None:
    made = [await answer(name, model) for model in (fresh(name, dtype=dtype), fresh(name, dtype="float32"))]
    found = difference(*made)
    assert 0 < found < LARGEST
    record_property(f"{name}: {dtype} beside float32, mean difference of 1", found)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("family", FAMILIES)
async def test_painters_paint_nearly_the_same_in_smaller_numbers(
    family: str, dtype: str, fresh: Any, folder: Any, same_noise: None, record_property: Callable[[str, object], None]
) -> None:
    # FLUX is told the guidance and the time in the numbers it computes in, a thousandfold, and bfloat16 has no 3000 and
    # few of the times between a thousand and nothing: it has both of these.
    square: dict[str, Any] = {"weights": str(folder(family)), "width": 64, "height": 64, "guidance": 4.0}
    made = [await painted(fresh("diffusers", dtype=number, **square), steps=1) for number in (dtype, "float32")]
    found = difference(*made)
    assert 0 < found < LARGEST
    record_property(f"{family}: {dtype} beside float32, mean difference of 1", found)


async def test_parts_that_take_turns_on_a_gpu_paint_the_same(fresh: Any) -> None:
    need_gpu()
    plain, saved = fresh("diffusers", dtype="float32"), fresh("diffusers", dtype="float32", savings=["model_offload"])
    assert difference(await painted(saved), await painted(plain)) < 1 / 255


async def test_a_voice_says_the_same_again(fresh: Any) -> None:
    model = fresh("mms")
    one, again = await samples(model), await samples(model)
    assert one.dtype == np.float32 and np.abs(one).max() <= 1
    assert difference(one, again) == 0
    assert float(np.sqrt(np.square(one).mean())) > 0.02
