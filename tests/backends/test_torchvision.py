"""Backends see pictures alike with torchvision installed and without.

With it transformers' image processors are those on tensors, without it those on Pillow's pictures. Backends on vision
networks use neither but the figures beside the weights; painters leave it to the pipeline.
"""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from deployments.pixels import write_picture

from .harness import need_module
from .painters import write_qwen_image, write_reference_adapter
from .pictures import disc, opened, written
from .vision_weights import write_knower, write_matter

LEVELS = 1.5  # of 255: filters round differently
SIDE = {"height": 64, "width": 64}


@pytest.fixture(autouse=True)
def torchvision() -> None:
    need_module("torchvision")


def seen(network: Any, call: Any) -> np.ndarray:
    """The pixels that a part of a network is given, [1, channels, height, width], while `call` is made."""
    import torch

    given = list[np.ndarray]()

    def look(part: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        given.extend(one.cpu().numpy() for one in (*args, *named.values()) if torch.is_tensor(one) and one.dim() == 4)

    hook = network.register_forward_pre_hook(look, with_kwargs=True)
    try:
        call()
    finally:
        hook.remove()
    return given[0]


def levels(one: np.ndarray, other: np.ndarray, processor: Any) -> float:
    """How far pixels are apart at most, of 255; of colours, where there are more channels."""
    assert one.shape == other.shape
    spread = max(processor.image_std) if getattr(processor, "do_normalize", True) else 1
    return float(np.abs(one - other)[:, :3].max()) * spread * 255


def both(folder: Path | str, name: str, **figures: Any) -> list[Any]:
    """The processor that transformers picks for these weights, which is torchvision's, and the one that needs none."""
    import transformers

    chosen: Any = transformers.AutoImageProcessor.from_pretrained(folder, **figures)
    assert type(chosen).__name__ == name
    assert "torchvision" in {base.__name__.lower().removesuffix("backend") for base in type(chosen).__mro__}
    plain = getattr(transformers, f"{name}Pil", None)
    return [chosen] if plain is None else [chosen, plain.from_pretrained(folder, **figures)]


def given_by(processor: Any, *pictures: PIL.Image.Image) -> np.ndarray:
    return processor(*pictures, return_tensors="pt")["pixel_values"].numpy()


@pytest.mark.parametrize("size", [(64, 64), (100, 60), (300, 200)])
def test_sam2_sees_what_torchvisions_processor_shows(load: Any, sam2_weights: Path, size: tuple[int, int]) -> None:
    picture, network = disc(size=size, centre=(40, 30), radius=15), load("sam2")._engine.network
    found = seen(network.vision_encoder, lambda: asyncio.run(load("sam2").segment(picture, points=[(40, 30)])))
    for processor in both(sam2_weights, "Sam2ImageProcessor", size=SIDE):
        assert levels(given_by(processor, opened(picture)), found, processor) < LEVELS


@pytest.mark.parametrize("size", [(60, 56), (200, 120), (90, 300)])
def test_depth_anything_sees_what_torchvisions_processor_shows(
    load: Any, depth_weights: Path, size: tuple[int, int]
) -> None:
    picture, model = disc(size=size, centre=(40, 30), radius=15), load("depth_anything")
    found = seen(model._engine.network, lambda: asyncio.run(model.estimate(picture)))
    for processor in both(depth_weights, "DPTImageProcessor"):
        assert levels(given_by(processor, opened(picture)), found, processor) < LEVELS


def test_vit_mae_sees_what_torchvisions_processor_shows(load: Any) -> None:
    model = load("vit_mae")
    side = model._engine.network.config.image_size
    picture = disc(size=(side, side), centre=(40, 30), radius=15)
    mask = PIL.Image.new("L", (side, side))
    mask.paste(255, (30, 30, 34, 34))
    found = seen(model._engine.network, lambda: asyncio.run(model.reconstruct(picture, written(mask))))
    for processor in both("deployments/starter/restorer/weights", "ViTImageProcessor"):
        assert levels(given_by(processor, opened(picture)), found, processor) < LEVELS


def test_swin2sr_sees_what_torchvisions_processor_shows(load: Any, tmp_path: Path) -> None:
    model, picture = load("swin2sr"), disc(size=(64, 64), centre=(40, 30), radius=15)
    network = next(iter(model._engine.by_scale.values()))
    scale = next(iter(model._engine.by_scale))
    found = seen(network, lambda: asyncio.run(model.upscale(picture, scale=scale)))
    rim = (found.shape[-1] - 64) // 2  # mirrored
    found = found[:, :, rim : rim + 64, rim : rim + 64]
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "Swin2SRImageProcessor"}')
    for processor in both(tmp_path, "Swin2SRImageProcessor"):
        shown = given_by(processor, opened(picture))[:, :, :64, :64]  # beyond it is mirrored too
        assert levels(shown, found, processor) < LEVELS


def test_mask2former_sees_what_torchvisions_processor_shows(fresh: Any, tmp_path: Path) -> None:
    weights = write_knower(tmp_path)
    model, picture = fresh("cutout", subject=str(weights)), disc(size=(120, 90), centre=(40, 30), radius=15)
    knower = model._engine.knower
    found = seen(knower.network, lambda: knower.where(opened(picture)))
    for processor in both(weights, "Mask2FormerImageProcessor"):
        assert levels(given_by(processor, opened(picture)), found, processor) < LEVELS


@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_vitmatte_sees_what_torchvisions_processor_shows(fresh: Any, tmp_path: Path, size: tuple[int, int]) -> None:
    weights = write_matter(tmp_path)
    matter = fresh("cutout", matting=str(weights))._engine.matter
    colours = np.asarray(opened(disc(size=size, centre=(30, 30), radius=20)))
    known = np.zeros(size[::-1], np.float32)
    known[20:40, 20:30] = 1
    trimap = PIL.Image.fromarray((known * 255).astype(np.uint8))
    found = seen(matter.network, lambda: matter.alpha(colours, known))
    for processor in both(weights, "VitMatteImageProcessor"):
        shown = given_by(processor, PIL.Image.fromarray(colours), trimap)
        wide, high = size  # beyond it the one has zeros, the other what lies at the edge
        assert shown.shape == found.shape
        assert levels(shown[:, :, :high, :wide], found[:, :, :high, :wide], processor) < LEVELS


def paints_alike(model: Any, task: str, part: str, plain: Any, apart: float, **given: Any) -> None:
    """A painter with the part of its pipeline that torchvision brought, and with `plain` in its place."""
    pipeline = model._engine.pipeline(task).make
    keep = getattr(pipeline, part)
    made = []
    for one in (keep, plain):
        setattr(pipeline, part, one)
        made.append(np.asarray(opened(asyncio.run(getattr(model, task)(seed=1, **given)))).astype(int))
    assert np.abs(made[0] - made[1]).max() <= apart


def test_reference_pictures_are_looked_at_alike_with_torchvision(
    fresh: Any, tmp_path: Path, painter_weights: Path
) -> None:
    from transformers import CLIPImageProcessorPil

    folder = write_reference_adapter(tmp_path, painter_weights)
    model = fresh("diffusers", references={"weights": str(folder), "file": "tiny.safetensors"}, dtype="float32")
    chosen = model._engine.pipeline("generate").make.feature_extractor
    assert type(chosen).__name__ == "CLIPImageProcessor"
    plain = CLIPImageProcessorPil(size=chosen.size, crop_size=chosen.crop_size)
    looked = {"prompt": "a dog", "references": [disc(size=(90, 60), centre=(30, 30), radius=20)]}
    paints_alike(model, "generate", "feature_extractor", plain, 2, **looked)
    without, with_one = (asyncio.run(model.generate(seed=1, **call)) for call in ({"prompt": "a dog"}, looked))
    assert without != with_one


def test_qwen_image_edit_looks_alike_with_torchvision(fresh: Any, tmp_path: Path) -> None:
    import copy

    from transformers import Qwen2VLImageProcessorPil

    weights = str(write_qwen_image(tmp_path, "QwenImageEditPlusPipeline"))
    model = fresh("diffusers", weights=weights, dtype="float32", width=64, height=64, max_side=256)
    chosen = model._engine.pipeline("edit").make.processor
    assert type(chosen.image_processor).__name__ == "Qwen2VLImageProcessor"
    plain = copy.copy(chosen)
    plain.image_processor = Qwen2VLImageProcessorPil.from_pretrained(weights, subfolder="processor")
    picture = write_picture(PIL.Image.new("RGB", (96, 64), (200, 30, 30)))
    paints_alike(model, "edit", "processor", plain, 1, image=picture, prompt="a dog", steps=1)
