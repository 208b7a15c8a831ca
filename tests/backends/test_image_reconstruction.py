"""The contract of `ImageReconstruction`."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from deployments import BACKENDS
from deployments.backend import STARTER
from deployments.capabilities import ImageReconstruction
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.media import Image

from .harness import offering, reload_in_flight, unloaded, watch
from .pictures import disc, disc_mask, opened, written

pytestmark = pytest.mark.asyncio
NAMES = offering(ImageReconstruction)


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


def gap(size: tuple[int, int], box: tuple[int, int, int, int], mode: str = "L") -> Image:
    mask = PIL.Image.new(mode, size)
    PIL.ImageDraw.Draw(mask).rectangle(box, fill="white")
    return written(mask)


@pytest.mark.parametrize("size", [(64, 64), (256, 256), (400, 300), (50, 40), (900, 120)])
async def test_a_scratch_on_a_plain_ground_is_gone(model: Any, size: tuple[int, int]) -> None:
    plain = PIL.Image.new("RGB", size, (36, 92, 222))
    box = (size[0] // 3, size[1] // 3, size[0] // 3 + 12, size[1] // 3 + 12)
    scratched = plain.copy()
    PIL.ImageDraw.Draw(scratched).rectangle(box, fill="white")
    restored = await model.reconstruct(written(scratched), gap(size, box))
    assert restored.media_type == "image/png"
    picture = opened(restored)
    assert (picture.mode, picture.size) == ("RGB", size)
    assert np.abs(np.asarray(picture.crop((*box[:2], box[2] + 1, box[3] + 1)), float) - (36, 92, 222)).mean() < 25


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
async def test_only_masked_pixels_change(model: Any, mode: str) -> None:
    box = (150, 100, 260, 190)
    restored = np.asarray(opened(await model.reconstruct(disc(), gap((400, 300), box, mode))))
    masked = np.asarray(opened(gap((400, 300), box)).convert("L")) > 127
    before = np.asarray(opened(disc()))
    assert np.array_equal(restored[~masked], before[~masked])
    assert not np.array_equal(restored[masked], before[masked])


async def test_transparency_stays(model: Any) -> None:
    picture = opened(disc()).convert("RGBA")
    alpha = PIL.Image.linear_gradient("L").resize(picture.size)
    picture.putalpha(alpha)
    restored = opened(await model.reconstruct(written(picture), disc_mask(radius=30)))
    assert restored.mode == "RGBA"
    assert np.array_equal(np.asarray(restored.getchannel("A")), np.asarray(alpha))


async def test_a_mask_at_the_edge_or_nearly_everywhere_is_filled(model: Any) -> None:
    for box in ((0, 0, 60, 299), (380, 280, 399, 299), (0, 0, 399, 200), (20, 20, 399, 299)):
        assert opened(await model.reconstruct(disc(), gap((400, 300), box))).size == (400, 300)


async def test_the_same_call_gives_the_same_picture_also_beside_others(model: Any) -> None:
    alone = await model.reconstruct(disc(), disc_mask(radius=30))
    beside = await asyncio.gather(*(model.reconstruct(disc(), disc_mask(radius=30 + 40 * (i % 2))) for i in range(6)))
    assert beside[0] == beside[2] == beside[4] == alone
    assert beside[1] == beside[3] == beside[5] != alone


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("mask", {"mask": written(PIL.Image.new("L", (400, 300)))}),
        ("mask", {"mask": written(PIL.Image.new("L", (400, 300), 255))}),
        ("mask", {"mask": gap((400, 300), (1, 0, 399, 299))}),
        ("mask", {"mask": disc_mask(size=(300, 400))}),
        ("mask", {"mask": Image(b"nothing", "image/png")}),
        ("image", {"image": Image(b"nothing", "image/png")}),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        await model.reconstruct(**{"image": disc(), "mask": disc_mask(), **arguments})
    assert raised.value.field == field


async def test_cancelling_a_call_that_waits_for_its_turn_ends_it(fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = await asyncio.to_thread(fresh, "vit_mae")
    seen, engine = watch(model, monkeypatch), model._ready()
    used: list[Any] = []
    engine.network.register_forward_hook(lambda *call: used.append(call))
    with engine.turn:
        task = asyncio.create_task(model.reconstruct(disc(), disc_mask()))
        assert await asyncio.to_thread(seen.started.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not seen.ended.is_set()
    assert await asyncio.to_thread(seen.ended.wait, 10)
    assert used == []


@pytest.mark.parametrize("name", NAMES)
async def test_other_weights_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_restorer(tmp_path)
    expected = await load(name).reconstruct(disc(), disc_mask())
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, weights=str(tmp_path))
    call = model.reconstruct
    assert await reload_in_flight(model, lambda: call(disc(), disc_mask()), other, monkeypatch) == expected
    assert await model.reconstruct(disc(), disc_mask()) != expected


@pytest.mark.parametrize("content", ["empty", "pickle", "damaged", "normalised patches", "no decoder"])
async def test_what_is_no_network_leaves_the_old_in_use(fresh: Any, tmp_path: Path, content: str) -> None:
    import shutil

    if content == "pickle":
        (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    elif content == "damaged":
        shutil.copytree(STARTER / "restorer/weights", tmp_path, dirs_exist_ok=True)
        (tmp_path / "model.safetensors").write_bytes(b"not at all")
    elif content == "normalised patches":
        write_restorer(tmp_path, norm_pix_loss=True)
    elif content == "no decoder":
        from transformers import ViTMAEConfig, ViTMAEModel

        ViTMAEModel(ViTMAEConfig(**SMALL)).save_pretrained(tmp_path)
    model = await asyncio.to_thread(fresh, "vit_mae")
    with pytest.raises(ModelUnavailable):
        await model.reconfigure(BACKENDS["vit_mae"].Options(weights=str(tmp_path)))
    assert opened(await model.reconstruct(disc(), disc_mask())).size == (400, 300)


SMALL: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16,
}  # fmt: skip


def write_restorer(folder: Path, **changes: Any) -> None:
    """A ViT-MAE of another size with random weights, and without a preprocessor's figures."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    ViTMAEForPreTraining(ViTMAEConfig(**SMALL, **changes)).save_pretrained(folder)
