"""The contract of `Segmentation`."""

import asyncio
from typing import Any

import numpy as np
import PIL.Image
import pytest

from deployments import BACKENDS
from deployments.capabilities import Segmentation
from deployments.errors import InvalidInput
from deployments.media import Image

from .harness import offering, reload_in_flight, seconds_to_stop
from .pictures import disc, disc_mask, opened, overlap, written

pytestmark = pytest.mark.asyncio
NAMES = offering(Segmentation)
NAN = float("nan")


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


HINTS: dict[str, dict[str, Any]] = {
    "a point": {"points": [(220, 140)]},
    "points and ground": {"points": [(200, 120), (240, 160)], "background_points": [(20, 20), (380, 280)]},
    "a box": {"boxes": [(120, 40, 320, 240)]},
    "a rough mask": {"mask": disc_mask(radius=55)},
    "a box and a point": {"boxes": [(130, 50, 310, 230)], "points": [(220, 140)]},
}


@pytest.mark.parametrize("hint", HINTS)
async def test_a_disc_is_found(model: Any, hint: str) -> None:
    mask = await model.segment(disc(), **HINTS[hint])
    assert mask.media_type == "image/png"
    picture = opened(mask)
    assert (picture.mode, picture.size) == ("L", (400, 300))
    assert set(np.unique(np.asarray(picture))) == {0, 255}
    assert overlap(mask, disc_mask()) > 0.9


async def test_a_large_picture_gets_a_mask_of_its_size(model: Any) -> None:
    shape: dict[str, Any] = {"size": (1600, 1200), "centre": (900, 600), "radius": 330}
    mask = await model.segment(disc(**shape), boxes=[(500, 200, 1300, 1000)])
    assert opened(mask).size == (1600, 1200)
    assert overlap(mask, disc_mask(**shape)) > 0.97


async def test_two_boxes_find_two_things(model: Any) -> None:
    both = PIL.Image.new("RGB", (800, 300))
    both.paste(opened(disc()), (0, 0))
    both.paste(opened(disc()), (400, 0))
    mask = await model.segment(written(both), boxes=[(120, 40, 320, 240), (520, 40, 720, 240)])
    halves = [written(opened(mask).crop((x, 0, x + 400, 300))) for x in (0, 400)]
    assert all(overlap(half, disc_mask()) > 0.9 for half in halves)


async def test_coordinates_are_those_that_people_see(model: Any) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # held sideways: shown turned by 90 degrees to the right
    stored = opened(disc()).transpose(PIL.Image.Transpose.ROTATE_90)
    mask = await model.segment(written(stored, "JPEG", exif=exif, quality=95), points=[(220, 140)])
    assert opened(mask).size == (400, 300)
    assert overlap(mask, disc_mask()) > 0.9


async def test_the_same_call_gives_the_same_mask_also_beside_others(model: Any) -> None:
    alone = await model.segment(disc(), points=[(220, 140)])
    calls = (model.segment(disc(), points=[(220, 140)] if i % 2 else [(10, 10)]) for i in range(4))
    beside = await asyncio.gather(*calls)
    assert beside[1] == beside[3] == alone
    assert beside[0] == beside[2] != alone


@pytest.mark.parametrize(
    ("image", "hints"),
    [
        (PIL.Image.new("RGB", (64, 64), "grey"), {"mask": written(PIL.Image.new("L", (64, 64)))}),
        (PIL.Image.new("RGB", (64, 64), "grey"), {"boxes": [(0, 0, 64, 64)]}),
        (PIL.Image.new("RGB", (64, 64), "grey"), {"boxes": [(10, 10, 10.5, 10.5)]}),
        (PIL.Image.new("RGB", (64, 64), "grey"), {"points": [(63.9, 63.9)]}),
        (PIL.Image.new("RGB", (64, 64), "grey"), {"background_points": [(5, 5)]}),
        (PIL.Image.new("RGB", (1, 1), "grey"), {"points": [(0, 0)]}),
        (PIL.Image.new("RGB", (3000, 2), "grey"), {"boxes": [(10, 0, 2000, 2)]}),
        (PIL.Image.new("RGBA", (64, 64)), {"points": [(5, 5)], "background_points": [(5, 5)]}),
        (PIL.Image.new("L", (64, 64), 255), {"mask": written(PIL.Image.new("L", (64, 64), 255))}),
    ],
)
async def test_where_there_is_little_to_find_there_still_is_a_mask(model: Any, image: Any, hints: Any) -> None:
    mask = opened(await model.segment(written(image), **hints))
    assert (mask.mode, mask.size) == ("L", image.size)
    assert set(np.unique(np.asarray(mask))) <= {0, 255}


async def test_an_empty_hint_finds_nothing(model: Any) -> None:
    mask = await model.segment(disc(), mask=written(PIL.Image.new("L", (400, 300))))
    assert not np.asarray(opened(mask)).any()


@pytest.mark.parametrize(
    ("field", "hints"),
    [
        ("points", {}),
        ("points", {"points": [], "boxes": []}),
        ("points", {"points": [(400, 10)]}),
        ("points", {"points": [(10, -1)]}),
        ("points", {"points": [(NAN, 10)]}),
        ("points", {"points": [(1, 1)] * 10_000}),
        ("background_points", {"points": [(1, 1)], "background_points": [(1, 300)]}),
        ("boxes", {"boxes": [(0, 0, 401, 10)]}),
        ("boxes", {"boxes": [(10, 10, 10, 20)]}),
        ("boxes", {"boxes": [(20, 10, 10, 20)]}),
        ("boxes", {"boxes": [(0, 0, NAN, 10)]}),
        ("mask", {"mask": disc_mask(size=(300, 400))}),
        ("mask", {"mask": Image(b"nothing", "image/png")}),
        ("image", {"image": Image(b"nothing", "image/png"), "points": [(1, 1)]}),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, hints: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        await model.segment(**{"image": disc(), **hints})
    assert raised.value.field == field


def noise() -> Image:
    return written(PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (480, 480, 3), np.uint8)))


@pytest.mark.parametrize("name", NAMES)
async def test_cancelling_stops_the_work(name: str, options_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = BACKENDS[name]()
    await model.reconfigure(options_of(name, iterations=20))
    call = model.segment(noise(), boxes=[(40, 40, 440, 440)])
    assert await seconds_to_stop(model, call, monkeypatch) < 1.5


@pytest.mark.parametrize("name", NAMES)
async def test_other_options_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints = {"boxes": [(120, 40, 320, 240)]}
    expected = await load(name).segment(disc(), **hints)
    model = BACKENDS[name]()
    await model.reconfigure(options_of(name))
    other = options_of(name, longest_side=64)
    assert await reload_in_flight(model, lambda: model.segment(disc(), **hints), other, monkeypatch) == expected
    assert await model.segment(disc(), **hints) != expected
