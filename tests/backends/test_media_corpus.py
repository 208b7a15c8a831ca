"""The backends that work on files without a network take or refuse every file of the corpus by name of its field."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from deployments import audio
from deployments.errors import MedleyError
from deployments.media import Audio, Image, MediaLimits
from tests.media.corpus import of_kind
from tests.media.sample import Sample

from .pictures import opened

MOST_SECONDS = 10.0  # of a core, so that a busy machine does not matter

Call = Callable[[Any, Image, Image], Awaitable[Any]]
PICTURE_CALLS: dict[str, tuple[str, Call]] = {
    "resize": ("opencv", lambda tools, image, _: tools.resize(image, width=16)),
    "crop": ("opencv", lambda tools, image, _: tools.crop(image, (0, 0, 1, 1))),
    "png": ("opencv", lambda tools, image, _: tools.encode(image, format="png")),
    "jpeg": ("opencv", lambda tools, image, _: tools.encode(image, format="jpeg")),
    "webp": ("opencv", lambda tools, image, _: tools.encode(image, format="webp")),
    "canny": ("opencv", lambda tools, image, _: tools.canny(image)),
    "extract": ("opencv", lambda tools, image, mask: tools.extract_object(image, mask)),
    "cut out by itself": ("opencv", lambda tools, image, _: tools.extract_object(image, image)),
    "relight": ("lambert", lambda lights, image, _: lights.relight(image, image)),
    "segment": ("grabcut", lambda cutter, image, _: cutter.segment(image, boxes=[(0, 0, 8, 8)])),
    "remove background": ("cutout", lambda cutter, image, _: cutter.remove_background(image)),
    "stylize": ("palette", lambda styles, image, _: styles.stylize(image, style=image)),
}


async def outcome(call: Awaitable[Any]) -> MedleyError | None:
    """The error with which a call was refused, None if it was answered. Anything else that it raises is raised."""
    began = time.process_time()
    try:
        await call
        return None
    except MedleyError as error:
        assert error.status < 500, error
        return error
    finally:
        assert time.process_time() - began < MOST_SECONDS


@pytest.mark.parametrize("name", PICTURE_CALLS)
async def test_each_picture_is_worked_on_or_refused(name: str, load: Any) -> None:
    backend, call = PICTURE_CALLS[name]
    model, answered = load(backend), 0
    mask = await load("opencv").encode(Image(of_kind("image")[4].data, "image/png"))
    for sample in of_kind("image"):
        refused = await outcome(call(model, Image(sample.data, "image/png"), mask))
        answered += refused is None
        if sample.readable is False:
            assert refused is not None, sample
    assert answered > 5


@pytest.mark.parametrize("sample", of_kind("audio"), ids=repr)
def test_each_recording_is_heard_or_refused(sample: Sample) -> None:
    try:
        samples = audio.decode(Audio(sample.data, "audio/*"), 16_000, dtype="int16")
    except MedleyError as error:
        assert error.status < 500
        assert not sample.readable
        return
    for format in ("mp3", "opus", "flac"):
        assert Audio.checked(audio.encode(samples[:16_000], 16_000, format).data, MediaLimits())


async def test_a_result_has_only_metadata_that_fit(load: Any) -> None:
    for sample in of_kind("image"):
        try:
            made = await load("opencv").encode(Image(sample.data, "image/png"))
        except MedleyError:
            continue
        picture = opened(made)
        assert not picture.getexif(), sample
        profile = picture.info.get("icc_profile")
        assert profile is None or profile[16:20] == b"RGB ", sample
