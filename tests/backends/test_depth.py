"""The contract of `Depth`."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from deployments import BACKENDS
from deployments.capabilities import Depth
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.media import Image

from .harness import offering, reload_in_flight, seconds_to_stop, unloaded
from .pictures import disc, opened, written
from .vision_weights import write_depth

pytestmark = pytest.mark.asyncio
NAMES = offering(Depth)


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


def values(depth: Image) -> np.ndarray:
    return np.asarray(opened(depth)).astype(float)


async def test_depth_is_16_bit_grey_of_the_pictures_size_from_0_to_65535(model: Any) -> None:
    depth = await model.estimate(disc())
    assert depth.media_type == "image/png"
    assert (opened(depth).mode, opened(depth).size) == ("I;16", (400, 300))
    assert (values(depth).min(), values(depth).max()) == (0, 65_535)
    assert len(np.unique(values(depth))) > 1000


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (3000, 2), (1600, 1200)])
async def test_every_shape_has_a_depth(model: Any, size: tuple[int, int]) -> None:
    assert opened(await model.estimate(disc(size=size))).size == size


async def test_pictures_are_seen_as_people_see_them(model: Any) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # held sideways: shown turned by 90 degrees to the right
    stored = opened(disc()).transpose(PIL.Image.Transpose.ROTATE_90)
    expected = await model.estimate(disc())
    assert await model.estimate(written(stored, "PNG", exif=exif)) == expected
    clear = opened(disc()).convert("RGBA")
    clear.putalpha(0)
    assert await model.estimate(written(clear)) == await model.estimate(
        written(PIL.Image.new("RGB", (400, 300), "white"))
    )


async def test_the_same_call_gives_the_same_depth_also_beside_others(model: Any) -> None:
    alone = await model.estimate(disc())
    other = disc(centre=(100, 100))
    beside = await asyncio.gather(*(model.estimate(disc() if i % 2 else other) for i in range(4)))
    assert beside[1] == beside[3] == alone
    assert beside[0] == beside[2] != alone


async def test_bad_input_names_its_field(model: Any) -> None:
    with pytest.raises(InvalidInput) as raised:
        await model.estimate(Image(b"nothing", "image/png"))
    assert raised.value.field == "image"


@pytest.mark.parametrize("name", NAMES)
async def test_cancelling_stops_the_work(name: str, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(name)
    large = disc(size=(4800, 4800), centre=(2000, 2000), radius=900)
    assert await seconds_to_stop(model, model.estimate(large), monkeypatch) < 1.5


@pytest.mark.parametrize("name", NAMES)
async def test_other_weights_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await load(name).estimate(disc())
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, weights=str(write_depth(tmp_path, seed=1)))
    assert await reload_in_flight(model, lambda: model.estimate(disc()), other, monkeypatch) == expected
    assert await model.estimate(disc()) != expected


class TestDepthAnything:
    """What only Depth Anything promises."""

    @pytest.mark.parametrize("size", [(60, 56), (200, 120), (90, 300), (40, 30), (30, 70)])
    async def test_depth_is_the_networks_own(self, load: Any, depth_weights: Path, size: tuple[int, int]) -> None:
        """Against transformers' model between its own processor's steps, before and after."""
        import torch
        from transformers import DepthAnythingForDepthEstimation, DPTImageProcessorPil

        picture = disc(size=size, centre=(25, 20), radius=12)
        processor: Any = DPTImageProcessorPil.from_pretrained(depth_weights)
        network: Any = DepthAnythingForDepthEstimation.from_pretrained(depth_weights).eval()
        with torch.inference_mode():
            out = network(**processor(opened(picture), return_tensors="pt"))
        near = processor.post_process_depth_estimation(out, [size[::-1]])[0]["predicted_depth"].numpy()
        expected = (near - near.min()) / (near.max() - near.min()) * 65_535
        assert np.abs(values(await load("depth_anything").estimate(picture)) - expected).max() < 200

    @pytest.mark.parametrize(
        ("size", "seen"),
        [
            ((640, 480), (686, 518)),
            ((480, 640), (518, 686)),
            ((100, 60), (518, 308)),
            ((9000, 600), (2072, 518)),
            ((3000, 2), (518, 14)),
        ],
    )
    async def test_the_network_sees_whole_patches_of_a_bounded_shape(
        self, size: tuple[int, int], seen: tuple[int, int]
    ) -> None:
        from deployments.depth.depth_anything import seen_size

        assert seen_size(size, 518, 14) == seen

    async def test_of_metres_near_is_bright_too(self, fresh: Any, tmp_path: Path) -> None:
        both = []
        for kind in ("relative", "metric"):
            weights = str(write_depth(tmp_path / kind, depth_estimation_type=kind, max_depth=20))
            model = await asyncio.to_thread(fresh, "depth_anything", weights=weights)
            both.append(values(await model.estimate(disc())).ravel())
        # The same network, whose answer is nearness in the one case and distance in the other.
        assert np.corrcoef(*(one.argsort().argsort() for one in both))[0, 1] < -0.9

    @pytest.mark.parametrize("content", ["empty", "pickle", "damaged", "another network"])
    async def test_what_is_no_network_leaves_the_old_in_use(self, fresh: Any, tmp_path: Path, content: str) -> None:
        import shutil

        from deployments.backend import STARTER

        if content == "pickle":
            (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
        elif content == "damaged":
            (write_depth(tmp_path) / "model.safetensors").write_bytes(b"not at all")
        elif content == "another network":
            shutil.copytree(STARTER / "restorer/weights", tmp_path, dirs_exist_ok=True)
        model = await asyncio.to_thread(fresh, "depth_anything")
        with pytest.raises(ModelUnavailable):
            await model.reconfigure(BACKENDS["depth_anything"].Options(weights=str(tmp_path)))
        assert opened(await model.estimate(disc())).size == (400, 300)
