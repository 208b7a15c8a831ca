"""The contract of `VoiceActivity`. eSpeak NG speaks between pauses whose lengths are known."""

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments import audio
from deployments.backend import WEIGHTS_FOLDER
from deployments.capabilities import SpokenTimes, VoiceActivity
from deployments.errors import InvalidInput
from deployments.media import Audio
from tests.media.real_speech import recordings

from .harness import need, offering, seconds_to_stop, unloaded

pytestmark = pytest.mark.asyncio
NAMES = offering(VoiceActivity)
RATE = 16_000


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


@pytest.fixture(scope="module")
def sentence(load: Any) -> np.ndarray:
    """About two seconds of speech, without pauses before and after."""
    spoken = asyncio.run(load("espeak").synthesize("The quick brown fox jumps over the lazy dog."))
    samples = audio.decode(spoken, RATE)
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[loud[0] : loud[-1]]


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.float32)


def recorded(*parts: np.ndarray, level: float = 1.0) -> Audio:
    return audio.encode(np.concatenate(parts) * level, RATE)


@pytest.mark.parametrize("level", [1.0, 0.01])
async def test_speech_is_found_where_it_is(model: Any, sentence: np.ndarray, level: float) -> None:
    recording = recorded(silence(2), sentence, silence(3), sentence, silence(1), level=level)
    found = await model.detect(recording)
    assert isinstance(found, SpokenTimes)
    long = len(sentence) / RATE
    assert found.seconds == pytest.approx(6 + 2 * long, abs=0.01)
    times = [(stretch.start, stretch.end) for stretch in found.stretches]
    right = [(2, 2 + long), (5 + long, 5 + 2 * long)]
    assert len(times) == 2
    for (start, end), (began, ended) in zip(times, right, strict=True):
        assert (start, end) == (pytest.approx(began, abs=0.3), pytest.approx(ended, abs=0.3))


async def test_a_short_pause_is_speech(model: Any, sentence: np.ndarray) -> None:
    assert len((await model.detect(recorded(sentence, silence(0.2), sentence))).stretches) == 1


@pytest.mark.parametrize("kind", ["silence", "a sample", "a tone", "noise"])
async def test_what_is_no_speech_has_none(model: Any, kind: str) -> None:
    sound = {
        "silence": silence(3),
        "a sample": silence(0.001),
        "a tone": np.sin(np.arange(3 * RATE) / RATE * 2 * np.pi * 440).astype(np.float32) / 2,
        "noise": np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32),
    }[kind]
    assert (await model.detect(recorded(sound))).stretches == []


async def test_an_hour_is_looked_at_in_parts_that_fit_together(model: Any, sentence: np.ndarray) -> None:
    talk = np.tile(np.concatenate([sentence, silence(0.1)]), 90)[: 200 * RATE]
    found = await model.detect(recorded(silence(10), talk, silence(10)))
    assert [(round(one.start), round(one.end)) for one in found.stretches] == [(10, 210)]


async def test_what_is_no_recording_is_refused(model: Any) -> None:
    for data in (b"", b"no recording"):
        with pytest.raises(InvalidInput) as refused:
            await model.detect(Audio(data, "audio/wav"))
        assert refused.value.field == "audio"


@pytest.mark.parametrize("name", NAMES)
async def test_cancelling_stops_the_work(
    name: str, load: Any, sentence: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = recorded(np.tile(sentence, 3500 * RATE // len(sentence)))
    assert await seconds_to_stop(load(name), load(name).detect(hour), monkeypatch) < 2.5


class TestSilero:
    """What only this backend promises."""

    async def test_options_say_what_a_pause_is(self, options_of: Any, sentence: np.ndarray) -> None:
        model, counts = unloaded("silero"), list[int]()
        for pause in (300, 2000):
            await model.reconfigure(options_of("silero", pause_ms=pause, around_ms=50))
            counts.append(len((await model.detect(recorded(sentence, silence(1), sentence))).stretches))
        assert counts == [2, 1]


async def test_people_are_found_in_a_recording(load: Any) -> None:
    need("moonshine")  # whose package has the recordings
    *_, (text, sound) = recordings(Path(os.environ[WEIGHTS_FOLDER])).items()
    found = await load("silero").detect(sound)
    assert len(found.stretches) >= text.count(".") // 2
    assert 0.3 < sum(one.end - one.start for one in found.stretches) / found.seconds < 0.95
