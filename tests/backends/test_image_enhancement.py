"""The contract of `ImageEnhancement`."""

import asyncio
import random
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from deployments import BACKENDS
from deployments.backend import STARTER
from deployments.capabilities import ImageEnhancement
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.media import Image

from .harness import REMOTE, offering, other_options, reload_in_flight, seconds_to_stop
from .pictures import disc, opened, written

pytestmark = pytest.mark.asyncio
NAMES = offering(ImageEnhancement)
SCALES = (2, 4)


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


@pytest.mark.parametrize("scale", SCALES)
async def test_what_was_reduced_comes_back_better_than_by_bicubic(model: Any, scale: int) -> None:
    from deployments.starter.upscaler.data import reduced, scene
    from deployments.starter.upscaler.measure import bicubic, psnr

    large = scene(random.Random("contract"), held_out=True)
    small = reduced(large, scale)
    made = await model.upscale(written(PIL.Image.fromarray(small)), scale=scale)
    assert made.media_type == "image/png"
    assert psnr(np.asarray(opened(made)), large, scale) > psnr(bicubic(small, scale), large, scale) + 0.5


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (64, 64), (65, 20), (130, 70), (500, 2)])
async def test_both_sides_grow_by_the_scale(model: Any, size: tuple[int, int], scale: int) -> None:
    made = opened(await model.upscale(written(PIL.Image.new("RGB", size, (200, 90, 30))), scale=scale))
    assert (made.mode, made.size) == ("RGB", (scale * size[0], scale * size[1]))
    assert np.abs(np.asarray(made, float) - (200, 90, 30)).max() < 12  # a plain colour stays one, to its edges


async def test_two_is_the_scale_unless_one_is_named(model: Any) -> None:
    assert await model.upscale(disc(size=(60, 40))) == await model.upscale(disc(size=(60, 40)), scale=2)


async def test_tiles_leave_no_seam(model: Any, fresh: Any) -> None:
    picture = disc(size=(150, 100), centre=(75, 50), radius=40)
    whole = await asyncio.to_thread(fresh, "swin2sr", tile=152)
    made, expected = [np.asarray(opened(await one.upscale(picture)), float) for one in (model, whole)]
    assert np.abs(made - expected).mean() < 1.5
    seam = np.abs(made - expected)[:, 126:130].mean()
    assert seam < 2.5


async def test_transparency_grows_too(model: Any) -> None:
    picture = opened(disc(size=(60, 40))).convert("RGBA")
    alpha = PIL.Image.linear_gradient("L").resize(picture.size)
    picture.putalpha(alpha)
    made = opened(await model.upscale(written(picture)))
    assert (made.mode, made.size) == ("RGBA", (120, 80))
    expected = alpha.resize((120, 80), PIL.Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(made.getchannel("A")), np.asarray(expected))


async def test_the_same_call_gives_the_same_picture_also_beside_others(model: Any) -> None:
    alone = await model.upscale(disc(size=(60, 40)))
    calls = (model.upscale(disc(size=(60, 40)), scale=SCALES[i % 2]) for i in range(4))
    beside = await asyncio.gather(*calls)
    assert beside[0] == beside[2] == alone != beside[1] == beside[3]


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("scale", {"scale": 3}),
        ("scale", {"scale": 0}),
        ("scale", {"image": written(PIL.Image.new("L", (2600, 2600))), "scale": 2}),
        ("scale", {"image": written(PIL.Image.new("L", (1300, 1300))), "scale": 4}),
        ("image", {"image": Image(b"nothing", "image/png")}),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        await model.upscale(**{"image": disc(), **arguments})
    assert raised.value.field == field


@pytest.mark.parametrize("name", NAMES)
async def test_cancelling_stops_the_work(name: str, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(name)
    assert await seconds_to_stop(model, model.upscale(disc(size=(800, 800)), scale=4), monkeypatch) < 2


@pytest.mark.parametrize("name", NAMES)
async def test_other_weights_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = disc(size=(100, 80))
    expected = await load(name).upscale(small)
    model = BACKENDS[name]()
    await model.reconfigure(options_of(name))
    other = options_of(name, **other_options(name, {"weights": str(STARTER / "upscaler/weights/x4")}))
    assert await reload_in_flight(model, lambda: model.upscale(small), other, monkeypatch) == expected
    assert opened(await model.upscale(small, scale=4)).size == (400, 320)
    if name in REMOTE:
        assert await model.upscale(small) != expected
    else:
        with pytest.raises(InvalidInput, match="one of 4"):
            await model.upscale(small)


@pytest.mark.parametrize("content", ["empty", "pickle", "damaged", "another network", "another scale"])
async def test_what_is_no_network_leaves_the_old_in_use(fresh: Any, tmp_path: Path, content: str) -> None:
    import shutil

    from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

    if content == "pickle":
        (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    elif content == "damaged":
        shutil.copytree(STARTER / "upscaler/weights/x2", tmp_path, dirs_exist_ok=True)
        (tmp_path / "model.safetensors").write_bytes(b"not at all")
    elif content == "another network":
        shutil.copytree(STARTER / "upscaler/weights/x2", tmp_path, dirs_exist_ok=True)
        shutil.copy(
            STARTER / "painter/weights/unet/diffusion_pytorch_model.safetensors", tmp_path / "model.safetensors"
        )
    elif content == "another scale":
        config = Swin2SRConfig(embed_dim=12, depths=[1], num_heads=[1], upscale=3)
        Swin2SRForImageSuperResolution(config).save_pretrained(tmp_path)
    model = await asyncio.to_thread(fresh, "swin2sr")
    with pytest.raises(ModelUnavailable):
        await model.reconfigure(BACKENDS["swin2sr"].Options(weights=str(tmp_path)))
    assert opened(await model.upscale(disc(size=(20, 20)))).size == (40, 40)
