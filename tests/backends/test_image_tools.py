"""The contract of `ImageTools`."""

import asyncio
from typing import Any

import numpy as np
import PIL.Image
import pytest

from deployments.capabilities import ImageTools
from deployments.errors import InvalidInput
from deployments.media import Image, MediaLimits
from tests.media.pictures import GREY_PROFILE, SRGB

from .harness import offering, reload_in_flight, unloaded
from .pictures import disc, disc_mask, opened, written

pytestmark = pytest.mark.asyncio
NAMES = offering(ImageTools)
NAN = float("nan")


@pytest.fixture(params=NAMES)
def tools(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


def clear(size: tuple[int, int] = (40, 20)) -> PIL.Image.Image:
    """Left half red, right half nothing."""
    picture = PIL.Image.new("RGBA", size, (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, size[0] // 2, size[1]))
    return picture


def sideways() -> Image:
    """Shown 20 wide and 40 high with its upper half red, stored lying, with a place in its EXIF."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    picture = clear().convert("RGB")
    return written(picture, "JPEG", exif=exif, quality=95)


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 200}, (200, 150)),
        ({"height": 600}, (800, 600)),
        ({"width": 100, "height": 100}, (100, 75)),
        ({"width": 100, "height": 100, "fit": "cover"}, (100, 100)),
        ({"width": 100, "height": 30, "fit": "stretch"}, (100, 30)),
        ({"width": 1}, (1, 1)),
        ({"width": 200, "fit": "cover"}, (200, 150)),
    ],
)
async def test_resize_gives_the_asked_size(tools: Any, asked: dict[str, Any], size: tuple[int, int]) -> None:
    resized = await tools.resize(disc(), **asked)
    assert Image.checked(resized.data, MediaLimits()) == resized
    assert opened(resized).size == size


async def test_cover_cuts_and_stretch_bends(tools: Any) -> None:
    cut = np.asarray(opened(await tools.resize(written(clear()), width=10, height=20, fit="cover")))
    assert (cut[:, 0, 3] == 255).all() and (cut[:, -1, 3] == 0).all()
    bent = np.asarray(opened(await tools.resize(disc(), width=100, height=300, fit="stretch")))
    assert bent[140, 55, 0] > 150 > bent[140, 90, 0]


async def test_transparency_stays_and_does_not_bleed(tools: Any) -> None:
    resized = opened(await tools.resize(written(clear()), width=80))
    assert resized.mode == "RGBA"
    pixels = np.asarray(resized)
    seen = pixels[pixels[..., 3] > 0]
    assert (seen[:, 0] > 250).all()
    assert (pixels[:, -10:, 3] == 0).all()
    palette = written(clear().quantize(4), "GIF", transparency=0)
    assert opened(await tools.crop(palette, (0, 0, 40, 20))).mode == "RGBA"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
async def test_resize_and_crop_keep_the_format(tools: Any, format: str) -> None:
    image = written(opened(disc()), format)
    for changed in (await tools.resize(image, width=50), await tools.crop(image, (0, 0, 50, 50))):
        assert changed.media_type == image.media_type
        assert Image.checked(changed.data, MediaLimits()) == changed


async def test_crop_cuts_what_people_see(tools: Any) -> None:
    part = opened(await tools.crop(written(clear()), (10, 0, 30, 20)))
    assert part.size == (20, 20)
    assert (np.asarray(part)[:, :, 3] == np.repeat([255, 0], 10)).all()
    turned = opened(await tools.crop(sideways(), (0, 0, 20, 10)))
    assert np.asarray(turned)[:, :, 0].min() > 200
    assert opened(await tools.crop(written(clear()), (39.6, 19.9, 40, 20))).size == (1, 1)


async def test_exif_is_obeyed_and_left_out(tools: Any) -> None:
    for image in (await tools.encode(sideways(), format="jpeg"), await tools.resize(sideways(), width=20)):
        picture = opened(image)
        assert picture.size == (20, 40)
        assert not picture.getexif()


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
async def test_encode_writes_what_it_says(tools: Any, format: Any) -> None:
    encoded = await tools.encode(written(clear()), format=format)
    assert encoded.media_type == f"image/{format}"
    assert Image.checked(encoded.data, MediaLimits()) == encoded
    picture = opened(encoded)
    assert picture.mode == ("RGB" if format == "jpeg" else "RGBA")
    if format == "jpeg":
        assert np.asarray(picture)[10, 35].min() > 240  # white where nothing was


async def test_quality_costs_bytes(tools: Any) -> None:
    sizes = [len((await tools.encode(disc(), format="jpeg", quality=quality)).data) for quality in (10, 50, 95)]
    assert sizes == sorted(sizes) and sizes[0] * 3 < sizes[2]


async def test_sixteen_bits_become_eight(tools: Any) -> None:
    ramp = PIL.Image.fromarray(np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (4, 1)))
    grey = np.asarray(opened(await tools.encode(written(ramp))))[0, :, 0].astype(int)
    assert np.abs(grey - np.arange(256)).max() <= 1


async def test_an_object_is_cut_out_and_nothing_else_is_left(tools: Any) -> None:
    cut = opened(await tools.extract_object(disc(), disc_mask()))
    assert cut.mode == "RGBA"
    assert cut.size == (161, 161)
    pixels = np.asarray(cut)
    assert (pixels[80, 80, 3], pixels[0, 0, 3]) == (255, 0)
    assert (pixels[pixels[..., 3] == 0] == 0).all()  # the colours of the ground are gone too
    padded = opened(await tools.extract_object(disc(), disc_mask(), padding=100))  # beyond the picture on three sides
    assert padded.size == (361, 361)
    assert padded.getchannel("A").getbbox() == (100, 100, 261, 261)


async def test_edges_are_white_on_black(tools: Any) -> None:
    edges = opened(await tools.canny(disc_mask(), low=200, high=600))
    assert (edges.mode, edges.size) == ("L", (400, 300))
    y, x = np.nonzero(np.asarray(edges))
    assert set(np.unique(np.asarray(edges))) == {0, 255}
    assert np.abs(np.hypot(x - 220, y - 140) - 80).max() < 4  # all of them on the disc's rim
    assert len(x) > 300


@pytest.mark.parametrize(
    ("format", "longest", "size"),
    [("webp", "16,383", (2, 16_384)), ("webp", "16,383", (17_000, 3)), ("jpeg", "65,500", (65_501, 1))],
)
async def test_a_side_that_a_format_cannot_have_is_refused_with_its_limit(
    tools: Any, format: Any, longest: str, size: tuple[int, int]
) -> None:
    long = written(PIL.Image.new("RGB", size))
    with pytest.raises(InvalidInput, match=longest) as raised:
        await tools.encode(long, format=format)
    assert raised.value.field == "format"
    assert opened(await tools.encode(long, format="png")).size == size
    whole = written(PIL.Image.new("RGB", (16_383, 2)))
    assert opened(await tools.encode(whole, format="webp")).size == (16_383, 2)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
async def test_a_profile_that_does_not_fit_the_result_goes(tools: Any, format: Any) -> None:
    grey = written(PIL.Image.new("L", (8, 8), 90), "JPEG", icc_profile=GREY_PROFILE)
    inks = written(PIL.Image.new("CMYK", (8, 8)), "JPEG", icc_profile=SRGB[:16] + b"CMYK" + SRGB[20:])
    colours = written(PIL.Image.new("RGB", (8, 8)), "JPEG", icc_profile=SRGB)
    results = [opened(await tools.encode(image, format=format)) for image in (grey, inks, colours)]
    assert [picture.info.get("icc_profile") for picture in results] == [None, None, SRGB]
    edges = opened(await tools.canny(colours))
    assert edges.info.get("icc_profile") is None


BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("resize", "width", {}),
    ("resize", "width", {"width": 0}),
    ("resize", "width", {"width": -5}),
    ("resize", "width", {"width": NAN}),
    ("resize", "width", {"width": 8193}),
    ("resize", "height", {"height": 7000}),  # which makes it 9333 wide
    ("resize", "height", {"width": 10, "height": 0}),
    ("resize", "width", {"width": 8192, "height": 8192, "fit": "stretch"}),
    ("resize", "fit", {"width": 10, "fit": "fill"}),
    ("crop", "box", {"box": (0, 0, 401, 10)}),
    ("crop", "box", {"box": (-1, 0, 10, 10)}),
    ("crop", "box", {"box": (10, 0, 10, 10)}),
    ("crop", "box", {"box": (0, 0, NAN, 10)}),
    ("crop", "box", {"box": (0, 0, float("inf"), 10)}),
    ("crop", "box", {"box": (0, 0, 10)}),
    ("encode", "format", {"format": "tiff"}),
    ("encode", "quality", {"quality": 0}),
    ("encode", "quality", {"quality": 101}),
    ("encode", "quality", {"quality": NAN}),
    ("extract_object", "mask", {"mask": disc_mask(size=(300, 400))}),
    ("extract_object", "mask", {"mask": written(PIL.Image.new("L", (400, 300)))}),
    ("extract_object", "mask", {"mask": Image(b"nothing", "image/png")}),
    ("extract_object", "padding", {"mask": disc_mask(), "padding": -1}),
    ("extract_object", "padding", {"mask": disc_mask(), "padding": 10**9}),
    ("canny", "low", {"low": NAN}),
    ("canny", "low", {"low": 300, "high": 200}),
    ("canny", "high", {"high": 1001}),
]


@pytest.mark.parametrize(("tool", "field", "arguments"), BAD)
async def test_bad_input_names_its_field(tools: Any, tool: str, field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        await getattr(tools, tool)(disc(), **arguments)
    assert raised.value.field == field


@pytest.mark.parametrize("tool", ["resize", "crop", "encode", "extract_object", "canny"])
@pytest.mark.parametrize("data", [b"", b"nothing", disc().data[:200]])
async def test_what_is_no_picture_names_the_image(tools: Any, tool: str, data: bytes) -> None:
    more = {"resize": {"width": 5}, "crop": {"box": (0, 0, 1, 1)}, "extract_object": {"mask": disc_mask()}}.get(
        tool, {}
    )
    with pytest.raises(InvalidInput) as raised:
        await getattr(tools, tool)(Image(data, "image/png"), **more)
    assert raised.value.field == "image"


async def test_a_picture_of_too_many_pixels_is_not_opened(tools: Any) -> None:
    with pytest.raises(InvalidInput, match="at most 25,000,000") as raised:
        await tools.encode(written(PIL.Image.new("1", (10_000, 2_501))))
    assert raised.value.field == "image"


async def test_the_largest_picture_takes_seconds(tools: Any) -> None:
    large = written(PIL.Image.new("RGB", (5000, 5000), "navy"))
    small = await asyncio.wait_for(tools.resize(large, width=100), 20)
    assert opened(small).size == (100, 100)


@pytest.mark.parametrize("name", NAMES)
async def test_other_options_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = written(opened(disc()), "JPEG")
    expected = await load(name).resize(photo, width=350)
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, jpeg_quality=10)
    assert await reload_in_flight(model, lambda: model.resize(photo, width=350), other, monkeypatch) == expected
    assert len((await model.resize(photo, width=350)).data) < len(expected.data) / 2
