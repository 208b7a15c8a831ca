"""Bytes that nobody foresaw: files of the corpus changed at random, data URLs, ranges and forms."""

import asyncio
import base64
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from deployments import audio, pixels
from deployments.errors import MedleyError
from deployments.media import DATA_URL, Audio, Image, Media, MediaLimits, Video
from serve_app.gateway.request_body import read_form
from serve_app.gateway.routes.artifacts import byte_range
from tests.media.corpus import corpus
from tests.media.sample import Sample

KINDS: dict[str, type[Media]] = {"image": Image, "audio": Audio, "video": Video}
LIMITS = MediaLimits(image_pixels=1_000_000, audio_seconds=60, video_seconds=60, video_pixels=1_000_000)
SMALL = [sample for sample in corpus() if len(sample.data) < 60_000]
SLOW_DATA = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
OFTEN = settings(deadline=None, derandomize=True, database=None, max_examples=400, suppress_health_check=SLOW_DATA)
LONG = settings(OFTEN, max_examples=20_000)


@st.composite
def changed(draw: st.DrawFn) -> Sample:
    """A file of the corpus with some bytes changed, taken out, doubled, or with another file in its middle."""
    sample = draw(st.sampled_from(SMALL))
    data = bytearray(sample.data)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 5)):
            case 0:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                data[at : at + 4] = draw(
                    st.sampled_from([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"])
                )
            case 2:
                del data[at : at + draw(st.integers(1, 200))]
            case 3:
                data[at:at] = data[at : at + draw(st.integers(1, 200))]
            case 4:
                data[at:at] = draw(st.sampled_from(SMALL)).data[: draw(st.integers(1, 4000))]
            case _:
                del data[at:]
    return Sample(f"changed {sample.name}", sample.kind, bytes(data))


def opened(sample: Sample) -> None:
    """Open a file as each kind of media and work on it. Only errors that name a field may be raised, and soon."""
    began = time.process_time()
    for kind, media in KINDS.items():
        try:
            taken = media.checked(sample.data, LIMITS)
        except PydanticCustomError as error:
            assert error.type in ("media_unsupported", "media_damaged", "media_too_large")
            continue
        try:
            if kind == "image":
                pixels.write_picture(pixels.open_picture(Image(taken.data, taken.media_type)))
            elif kind == "audio":
                assert len(audio.decode(Audio(taken.data, taken.media_type), 8_000)) <= 8_000 * (60 + 3)
        except MedleyError as error:
            assert error.status < 500
    assert time.process_time() - began < 10


@OFTEN
@given(changed())
def test_no_file_however_broken_is_a_fault(sample: Sample) -> None:
    opened(sample)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@LONG
@given(changed())
def test_no_file_however_broken_is_a_fault_in_the_long_run(sample: Sample) -> None:
    opened(sample)


class Page(BaseModel):
    image: Image


PARTS = st.sampled_from(
    [
        "data:",
        "image/png",
        "image/*",
        ";",
        ",",
        "base64",
        "codecs=",
        '"',
        "\\",
        " ",
        "\n",
        "%",
        "%2B",
        "=",
        "vp9,opus",
        "a",
    ]
)


@OFTEN
@given(st.lists(PARTS | st.text(max_size=4), max_size=14).map("".join))
def test_no_data_url_is_a_fault(text: str) -> None:
    for url in (text, f"data:{text}", f"data:image/png;{text};base64,{text}"):
        with pytest.raises(ValidationError) as refused:
            Page.model_validate({"image": url})
        assert refused.value.errors()[0]["type"].startswith("media_")


TOKEN = st.text("abcdefghijklmnop-.+", min_size=1, max_size=12)
QUOTED = st.text(st.characters(codec="utf-8", exclude_characters='"\\'), max_size=12).map(lambda text: f'"{text}"')
LOOSE = st.text(st.characters(codec="utf-8", exclude_characters='";'), max_size=12)


@OFTEN
@given(st.lists(st.tuples(TOKEN, QUOTED | LOOSE), max_size=4), st.binary(min_size=1, max_size=300), st.integers(1, 80))
def test_every_data_url_with_parameters_is_read(parameters: list[tuple[str, str]], data: bytes, width: int) -> None:
    text = base64.b64encode(data).decode()
    lines = "\r\n".join(text[at : at + width] for at in range(0, len(text), width))
    url = "data:audio/x" + "".join(f"; {name}={value}" for name, value in parameters) + ";base64," + lines
    found = DATA_URL.match(url)
    assert found
    with pytest.raises(ValidationError) as refused:
        Page.model_validate({"image": url})
    assert refused.value.errors()[0]["type"] != "media_reference"  # its bytes were looked at


@OFTEN
@given(st.text("bytes=-0123456789, \t", max_size=20) | st.text(max_size=12), st.integers(1, 2**40))
def test_a_range_is_within_the_content_or_is_none(text: str, size: int) -> None:
    for header in (text, f"bytes={text}", None):
        part = byte_range(header, size)
        if part is not None:
            first, last = part
            assert 0 <= first <= last < size or first >= size > last


class Wish(BaseModel):
    text: str
    count: int = 1
    names: list[str] = []
    image: bytes | None = None


async def intake(body: bytes) -> dict[str, Any]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    return await read_form(Request({"type": "http", "method": "POST", "headers": headers}, receive), Wish)


FORM_PARTS = st.sampled_from(
    [
        b"--x\r\n",
        b"--x--\r\n",
        b"\r\n",
        b'Content-Disposition: form-data; name="text"\r\n',
        b'Content-Disposition: form-data; name="names[]"\r\n',
        b'Content-Disposition: form-data; name="image"; filename=""\r\n',
        b'Content-Disposition: form-data; name="image"; filename="a"\r\n',
        b"Content-Type: image/png\r\n",
        b"[1, 2",
        b'{"a": NaN}',
        b"\xff\xfe\x00",
    ]
)


@OFTEN
@given(st.lists(FORM_PARTS | st.binary(max_size=6), max_size=16).map(b"".join))
def test_no_form_is_a_fault(body: bytes) -> None:
    try:
        fields = asyncio.run(intake(body))
    except MedleyError as error:
        assert error.status < 500
        return
    assert set(map(type, fields)) <= {str}
