"""The contract of `TextRecognition`."""

import asyncio
import io
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from PIL import ImageDraw, ImageFilter, ImageFont

from deployments import BACKENDS
from deployments.capabilities import RecognizedText, TextRecognition
from deployments.errors import InvalidInput, ModelUnavailable, UnsupportedMedia
from deployments.media import Image
from deployments.recognized_text import TextLine
from deployments.text_recognition.detection import bands

from .harness import PULLED, need, offering, reload_in_flight, seconds_to_stop, unloaded
from .reader_weights import write_reader

pytestmark = pytest.mark.asyncio
NAMES = offering(TextRecognition)
SIDE, GAP = 40, 40  # pixels of a blot, and between two


def as_media(picture: PIL.Image.Image, format: str = "png") -> Image:
    buffer = io.BytesIO()
    picture.save(buffer, format)
    return Image(buffer.getvalue(), f"image/{format}")


def blots(*rows: tuple[int, int, int], size: tuple[int, int] = (800, 800), mode: str = "RGB") -> PIL.Image.Image:
    """A white picture with lines of dark blots: x and y of the first one, and how many there are."""
    picture = PIL.Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for x, y, count in rows:
        for number in range(count):
            left = x + number * (SIDE + GAP)
            draw.rectangle((left, y, left + SIDE, y + SIDE), fill="black")
    return picture.convert(mode)


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


async def test_lines_come_in_rows_from_the_top_and_from_the_left(model: Any) -> None:
    found = await model.read(as_media(blots((540, 210, 2), (60, 200, 3), (60, 500, 4))))
    assert isinstance(found, RecognizedText)
    assert found.text == "ddd dd\ndddd"
    assert [line.text for line in found.lines] == ["ddd", "dd", "dddd"]
    for line, (x, y, count) in zip(found.lines, [(60, 200, 3), (540, 210, 2), (60, 500, 4)], strict=True):
        assert 0.9 < line.confidence <= 1
        middle = [sum(corner[side] for corner in line.corners) / 4 for side in (0, 1)]
        assert middle == pytest.approx([x + (count * (SIDE + GAP) - GAP) / 2, y + SIDE / 2], abs=8)
        (left, top), (right, _), (_, bottom), _ = line.corners
        assert 0 <= left < right <= 800 and 0 <= top < bottom <= 800


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "LA", "I;16", "CMYK"])
async def test_every_kind_of_picture_is_read(model: Any, mode: str) -> None:
    picture = blots((100, 200, 3))
    picture = picture.convert("L").convert(mode) if mode != "I;16" else _deep(picture)
    assert (await model.read(as_media(picture, "jpeg" if mode == "CMYK" else "png"))).text == "ddd"


def _deep(picture: PIL.Image.Image) -> PIL.Image.Image:
    import numpy as np

    return PIL.Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


async def test_a_picture_without_text_has_none(model: Any) -> None:
    for colour in ("white", "black", "grey"):
        found = await model.read(as_media(PIL.Image.new("RGB", (300, 200), colour)))
        assert colour == "black" or (found.text, found.lines) == ("", [])


async def test_what_is_transparent_is_paper(model: Any) -> None:
    picture = PIL.Image.new("RGBA", (800, 800), (0, 0, 0, 0))
    picture.paste("black", (100, 200, 140, 240))
    assert (await model.read(as_media(picture))).text == "d"


async def test_a_long_screenshot_is_read_in_bands_and_each_line_once(model: Any) -> None:
    places = [(100, y, 3) for y in range(50, 9000, 430)]
    found = await model.read(as_media(blots(*places, size=(500, 9000))))
    assert [line.text for line in found.lines] == ["ddd"] * len(places)
    for line, (_, y, _) in zip(found.lines, places, strict=True):
        assert line.corners[0][1] < y + SIDE / 2 < line.corners[2][1]


@pytest.mark.parametrize("height", [1, 100, 101, 250, 999])
async def test_every_row_of_a_picture_has_one_band_that_answers_for_it(height: int) -> None:
    found = list(bands(height, 100, 20))
    answering = [row for _, _, first, last in found for row in range(first, last)]
    assert answering == list(range(height))
    assert all(
        0 <= top <= first < last <= bottom <= height and bottom - top <= 100 for top, bottom, first, last in found
    )


async def test_a_wide_picture_is_read(model: Any) -> None:
    assert (await model.read(as_media(blots((100, 100, 3), size=(3900, 300))))).text in {"ddd", "d"}


async def test_calls_side_by_side_do_not_mix(model: Any) -> None:
    pictures = [as_media(blots((100, 200, 1 + number))) for number in range(4)]
    found = await asyncio.gather(*(model.read(picture) for picture in pictures))
    assert [one.text for one in found] == ["d", "dd", "ddd", "dddd"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"", InvalidInput), (b"no picture", UnsupportedMedia), (as_media(blots()).data[:200], InvalidInput)],
)
async def test_what_is_no_picture_is_refused(model: Any, data: bytes, kind: type[Exception]) -> None:
    with pytest.raises((InvalidInput, UnsupportedMedia)) as refused:
        await model.read(Image(data, "image/png"))
    assert refused.value.field == "image"


async def test_a_picture_of_a_few_pixels_is_refused(model: Any) -> None:
    with pytest.raises(InvalidInput, match="image: has 300 x 3 pixels"):
        await model.read(as_media(PIL.Image.new("RGB", (300, 3))))


@pytest.mark.parametrize("name", NAMES)
async def test_cancelling_stops_the_work(name: str, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(x, y, 1) for x in range(20, 2900, 200) for y in range(20, 7900, 100)]
    picture = as_media(blots(*rows, size=(3000, 8000)))
    assert await seconds_to_stop(load(name), load(name).read(picture), monkeypatch) < 1.5


@pytest.mark.parametrize("name", NAMES)
async def test_other_weights_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = as_media(blots((100, 200, 3)))
    before = await load(name).read(picture)
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, weights=str(write_reader(tmp_path, "x")))
    assert await reload_in_flight(model, lambda: model.read(picture), other, monkeypatch) == before
    assert (await model.read(picture)).text == "xxx"


class TestPPOCR:
    """What only this backend promises."""

    @pytest.mark.parametrize("damage", ["detection.onnx", "recognition.onnx"])
    async def test_damaged_weights_are_named(self, options_of: Any, tmp_path: Path, damage: str) -> None:
        folder = write_reader(tmp_path)
        data = (folder / damage).read_bytes()
        (folder / damage).write_bytes(data[: len(data) // 2])
        with pytest.raises(ModelUnavailable, match="cannot be loaded"):
            await unloaded("pp_ocr").reconfigure(options_of("pp_ocr", weights=str(folder)))
        (folder / damage).unlink()
        with pytest.raises(ModelUnavailable, match=f"has no {damage}"):
            await unloaded("pp_ocr").reconfigure(options_of("pp_ocr", weights=str(folder)))

    async def test_a_network_that_does_not_name_its_characters_is_refused(
        self, options_of: Any, tmp_path: Path
    ) -> None:
        folder = write_reader(tmp_path)
        (folder / "recognition.onnx").write_bytes((folder / "detection.onnx").read_bytes())
        with pytest.raises(ModelUnavailable, match="cannot be loaded"):
            await unloaded("pp_ocr").reconfigure(options_of("pp_ocr", weights=str(folder)))
        write_reader(folder, "d\ne")
        with pytest.raises(ModelUnavailable, match="reads 4 classes and names 5"):
            await unloaded("pp_ocr").reconfigure(options_of("pp_ocr", weights=str(folder)))


async def test_a_row_is_what_stands_beside_each_other() -> None:
    def line(text: str, x: float, y: float, height: float = 10) -> TextLine:
        corners = [(x, y), (x + 50, y), (x + 50, y + height), (x, y + height)]
        return TextLine(text=text, confidence=1, corners=corners)

    page = [line("d", 60, 31), line("b", 60, 2), line("c", 0, 28), line("a", 0, 0), line("large", 120, 60, 40)]
    assert RecognizedText.of(page).text == "a b\nc d\nlarge"
    assert RecognizedText.of([]).text == ""


# Real weights ---------------------------------------------------------------------------------------------------------

PAGE = [
    (34, "The quick brown fox jumps over the lazy dog."),
    (26, "Invoice No. 2026-1183, due 28 November 2026"),
    (22, "Total: 1,284.50 EUR (19% VAT included)"),
    (18, "email: ada.lovelace@example.org, +44 20 7946 0958"),
    (16, "It was the best of times, it was the worst of times, it was the age of wisdom."),
]


def page() -> PIL.Image.Image:
    """A page in the font that Pillow brings along, from large to small."""
    picture, y = PIL.Image.new("RGB", (900, 420), "white"), 30
    for size, text in PAGE:
        ImageDraw.Draw(picture).text((40, y), text, fill="black", font=ImageFont.load_default(size))
        y += size + 40
    return picture


def letters(text: str) -> str:
    return "".join(text.split())


def edits(said: str, read: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(read) + 1))
    for at, letter in enumerate(said, 1):
        row, before = [at], row
        for index, other in enumerate(read, 1):
            row.append(min(before[index] + 1, row[-1] + 1, before[index - 1] + (letter != other)))
    return row[-1]


@pytest.fixture(scope="module")
def real() -> Any:
    need("pp-ocr")
    model = unloaded("pp_ocr")
    asyncio.run(model.reconfigure(BACKENDS["pp_ocr"].Options(weights=PULLED["pp-ocr"])))
    return model


@pytest.mark.parametrize("kind", ["plain", "photographed", "turned", "on its side", "upside down", "white on black"])
async def test_a_rendered_page_is_read(real: Any, kind: str) -> None:
    white = {"expand": True, "fillcolor": "white", "resample": PIL.Image.Resampling.BICUBIC}
    picture = {
        "plain": lambda: page(),
        "photographed": lambda: page().rotate(5, **white).filter(ImageFilter.GaussianBlur(0.8)),
        "turned": lambda: page().rotate(-25, **white),
        "on its side": lambda: page().rotate(90, expand=True),
        "upside down": lambda: page().rotate(180),
        "white on black": lambda: PIL.Image.eval(page(), lambda value: 255 - value),
    }[kind]()
    found = [letters(line.text) for line in (await real.read(as_media(picture, "jpeg"))).lines]
    wrong = 0
    for _, text in PAGE:  # lines of a turned page come in another order
        nearest = min(found, key=lambda one: edits(letters(text), one))
        wrong += edits(letters(text), nearest)
    assert wrong <= 0.02 * sum(len(letters(text)) for _, text in PAGE), found
    assert len(found) == len(PAGE)


async def test_a_page_without_text_stays_empty(real: Any) -> None:
    assert (await real.read(as_media(PIL.Image.new("RGB", (600, 400), "white")))).lines == []
