"""The contract of `ImageTranslation`."""

import asyncio
import random
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from deployments import BACKENDS
from deployments.backend import STARTER
from deployments.capabilities import ImageTranslation
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.media import Image

from .harness import offering, reload_in_flight, seconds_to_stop, unloaded
from .pictures import disc, opened, written

pytestmark = pytest.mark.asyncio
NAMES = offering(ImageTranslation)
DIRECTIONS = ["day-to-night", "drawing-to-photo", "night-to-day", "photo-to-drawing"]


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_scenes_become_the_other_kind(model: Any, direction: str) -> None:
    pytest.importorskip(
        "cv2", reason="OpenCV, which draws the scenes, is not installed here: `make test` runs this test"
    )
    from deployments.starter.translator.data import DOMAINS
    from deployments.starter.translator.judge import judge

    source, target = direction.split("-to-")
    rng = random.Random(f"contract/{source}")
    made = [await model.translate(written(DOMAINS[source](rng)), direction=direction) for _ in range(10)]
    assert all(image.media_type == "image/png" for image in made)
    assert sum(judge(opened(image)) == target for image in made) >= 8


async def test_without_a_direction_it_is_the_first(model: Any) -> None:
    assert await model.translate(disc()) == await model.translate(disc(), direction=DIRECTIONS[0])


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (63, 65), (200, 400), (1200, 900)])
async def test_the_size_stays(model: Any, size: tuple[int, int]) -> None:
    made = opened(await model.translate(written(PIL.Image.new("RGB", size, "skyblue"))))
    assert (made.mode, made.size) == ("RGB", size)


async def test_transparency_stays(model: Any) -> None:
    picture = opened(disc()).convert("RGBA")
    alpha = PIL.Image.linear_gradient("L").resize(picture.size)
    picture.putalpha(alpha)
    made = opened(await model.translate(written(picture)))
    assert made.mode == "RGBA"
    assert np.array_equal(np.asarray(made.getchannel("A")), np.asarray(alpha))


async def test_the_same_call_gives_the_same_picture_also_beside_others(model: Any) -> None:
    alone = await model.translate(disc())
    calls = (model.translate(disc(), direction=DIRECTIONS[i % 2]) for i in range(4))
    beside = await asyncio.gather(*calls)
    assert beside[0] == beside[2] == alone != beside[1] == beside[3]


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("direction", {"direction": "day-to-nigth"}),
        ("direction", {"direction": ""}),
        ("image", {"image": Image(b"nothing", "image/png")}),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        await model.translate(**{"image": disc(), **arguments})
    assert raised.value.field == field
    if field == "direction":
        assert "day-to-night, drawing-to-photo" in raised.value.detail


@pytest.mark.parametrize("name", NAMES)
async def test_cancelling_stops_the_work(name: str, options_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = unloaded(name)
    await model.reconfigure(options_of(name, longest_side=1024))
    assert await seconds_to_stop(model, model.translate(disc(size=(300, 300))), monkeypatch) < 2.5


@pytest.mark.parametrize("name", NAMES)
async def test_other_options_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await load(name).translate(disc())
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, direction="night-to-day")
    assert await reload_in_flight(model, lambda: model.translate(disc()), other, monkeypatch) == expected
    assert await model.translate(disc()) == await load(name).translate(disc(), direction="night-to-day") != expected


async def test_one_file_of_another_size_is_a_model_too(fresh: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from deployments.image_translation.generator import ResnetGenerator

    state = ResnetGenerator(8, 2, dropout=True).state_dict()
    # as files of the authors' first years have them
    state = {name: value for name, value in state.items()} | {"model.2.running_mean": state["model.1.bias"].clone()}
    save_file(state, tmp_path / "horse-to-zebra.safetensors")
    model = await asyncio.to_thread(fresh, "cyclegan", weights=str(tmp_path / "horse-to-zebra.safetensors"))
    made = opened(await model.translate(disc(), direction="horse-to-zebra"))
    assert made.size == (400, 300)


@pytest.mark.parametrize("content", ["empty", "pickle", "damaged", "another network", "no such direction"])
async def test_what_is_no_generator_leaves_the_old_in_use(fresh: Any, tmp_path: Path, content: str) -> None:
    import torch
    from safetensors.torch import save_file

    options: dict[str, Any] = {"weights": str(tmp_path)}
    if content == "pickle":
        (tmp_path / "a.pth").write_bytes(b"pickle")
    elif content == "damaged":
        (tmp_path / "a.safetensors").write_bytes(b"not at all")
    elif content == "another network":
        save_file({"model.1.weight": torch.zeros(8, 3, 7, 7)}, tmp_path / "a.safetensors")
    elif content == "no such direction":
        options = {"weights": "starter/translator", "direction": "up-to-down"}
    model = await asyncio.to_thread(fresh, "cyclegan")
    expected = await model.translate(disc())
    with pytest.raises(ModelUnavailable):
        await model.reconfigure(BACKENDS["cyclegan"].Options(**options))
    assert await model.translate(disc()) == expected


async def test_the_shipped_directions_are_those_of_the_pairs() -> None:
    assert sorted(file.stem for file in (STARTER / "translator/weights").iterdir()) == DIRECTIONS
