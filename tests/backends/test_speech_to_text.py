"""The contract of `SpeechToText`. eSpeak NG speaks, since a recording would have to be shipped."""

import asyncio
import io
import os
import re
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments import BACKENDS, audio
from deployments.backend import WEIGHTS_FOLDER, weights_path
from deployments.capabilities import SpeechToText, Transcript
from deployments.errors import BeyondModel, InvalidInput, ModelUnavailable
from deployments.media import Audio
from deployments.progress import followed_by
from deployments.speech_to_text import pocketsphinx
from deployments.speech_to_text.moonshine import DECODER, ENCODER, VOCABULARY, Moonshine
from deployments.speech_to_text.pocketsphinx import PocketSphinx
from deployments.speech_to_text.together import Reader
from deployments.speech_to_text.word_error import agreement, word_errors
from serve_app.errors import BadWeights
from tests.media.real_speech import recordings, words
from tests.media.recordings import late_sound

from .harness import able, need, offering, other_options, reload_in_flight, seconds_to_stop, telling, unloaded, watch

pytestmark = pytest.mark.asyncio
NAMES = offering(SpeechToText)
HEARING = [name for name in NAMES if name != "faster_whisper"]  # its tiny weights are random: they hear noise
TIMING = [name for name in HEARING if name != "moonshine"]  # which knows no times of words
OTHER = {"pocketsphinx": {"beam": 1e-20}, "faster_whisper": {"beam": 2}}
COUNTING = "one two three four five"
SPEAKER = "en-us+f2"  # of eSpeak's, the one best understood
SPEAKERS = (SPEAKER, "en-us", "en-us+m3")
OWN = ("a red circle on a blue background", "what can you do", "does medley run on a laptop")
ORDINARY = ("please call me when you arrive at the airport", "nobody knew where the noise was coming from")


async def errors(model: Any, said: dict[str, Audio]) -> int:
    """Word errors in what `model` hears of recordings, by what they say."""
    return sum([word_errors(text, (await model.transcribe(sound)).text) for text, sound in said.items()])


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


@pytest.fixture(params=HEARING)
def hearing(request: pytest.FixtureRequest, load: Any) -> Any:
    """A model that understands what is said."""
    return load(request.param)


@pytest.fixture(scope="session")
def counting(load: Any) -> np.ndarray:
    """Half a second of quiet, "one two three four five", half a second of quiet: float32 at 48 kHz."""
    spoken = asyncio.run(load("espeak").synthesize(COUNTING, voice=SPEAKER))
    quiet = np.zeros(24_000, np.float32)
    return np.concatenate([quiet, audio.decode(spoken, 48_000), quiet])


def right_words(text: str) -> int:
    return len(set(COUNTING.split()) & set(re.findall(r"[a-z]+", text.lower())))


@pytest.mark.parametrize("container", ["mp4", "matroska"])
async def test_times_are_those_of_a_film_whose_sound_begins_late(
    load: Any, counting: np.ndarray, container: str
) -> None:
    speech = (counting * 32_767).astype(np.int16)[None]
    film = Audio(late_sound(4.0, container, speech), f"audio/{container}")
    heard = await load("pocketsphinx").transcribe(film, word_times=True)
    assert right_words(heard.text) >= 3
    assert heard.seconds == pytest.approx(4 + speech.shape[1] / 48_000, abs=0.2)
    assert 4 <= heard.segments[0].start <= 4.6
    assert all(word.start >= 4 for segment in heard.segments for word in segment.words)


async def test_what_is_said_is_written_with_its_language_and_times(hearing: Any, counting: np.ndarray) -> None:
    heard = await hearing.transcribe(audio.encode(counting, 48_000))
    assert right_words(heard.text) == 5
    assert heard.language.split("-")[0] == "en"
    assert 0 < heard.segments[0].start < 0.6
    assert heard.seconds - 0.6 < heard.segments[-1].end < heard.seconds


async def test_a_transcript_has_a_length_and_segments_in_order(model: Any, counting: np.ndarray) -> None:
    heard = await model.transcribe(audio.encode(counting, 48_000), language="en")
    assert heard.text and heard.language.split("-")[0] == "en"
    assert heard.seconds == pytest.approx(len(counting) / 48_000, abs=0.05)
    assert " ".join(segment.text for segment in heard.segments) == heard.text
    times = [time for segment in heard.segments for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert times[0] >= 0 and times[-1] <= heard.seconds
    assert not any(segment.words for segment in heard.segments)


async def test_words_have_times_where_asked_for(model: Any, counting: np.ndarray) -> None:
    if isinstance(model, Moonshine):
        with pytest.raises(BeyondModel, match="word_times: are not known"):
            await model.transcribe(audio.encode(counting, 48_000), word_times=True)
        return
    heard = await model.transcribe(audio.encode(counting, 48_000), word_times=True)
    words = [word for segment in heard.segments for word in segment.words]
    assert words
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0 and times[-1] <= heard.seconds


@pytest.mark.parametrize("name", TIMING)
async def test_the_times_of_words_are_those_of_the_recording(name: str, load: Any, counting: np.ndarray) -> None:
    hearing = load(name)
    later = np.concatenate([np.zeros(96_000, np.float32), counting])
    first, second = [
        (await hearing.transcribe(audio.encode(sound, 48_000), word_times=True)).segments[-1].words
        for sound in (counting, later)
    ]
    assert [word.text for word in first] == [word.text for word in second] == COUNTING.split()
    assert [b.start - a.start for a, b in zip(first, second, strict=True)] == pytest.approx([2.0] * 5, abs=0.15)


async def test_a_translation_is_english(model: Any, counting: np.ndarray) -> None:
    heard = await model.transcribe(audio.encode(counting, 48_000), translate=True)
    assert heard.text and heard.language.split("-")[0] == "en"


# Of 8 kHz only the length and the times are asked: the acoustic models are made from wide-band speech, and hear none to
# four of the five words of a voice without its upper half, differently at each reading.
@pytest.mark.parametrize(("rate", "channels", "least"), [(8_000, 1, 0), (22_050, 1, 5), (44_100, 2, 5)])
async def test_any_rate_and_stereo_are_heard(
    hearing: Any, counting: np.ndarray, rate: int, channels: int, least: int
) -> None:
    samples = audio.decode(audio.encode(counting, 48_000), rate, dtype="int16")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((channels, 2, rate, 0, "NONE", ""))
        out.writeframes(samples.repeat(channels).tobytes())
    heard = await hearing.transcribe(Audio(file.getvalue(), "audio/wav"))
    assert right_words(heard.text) >= least
    assert heard.seconds == pytest.approx(len(counting) / 48_000, abs=0.05)
    assert 0 < heard.segments[0].start < 0.6  # after the half second of quiet, give or take
    assert heard.seconds - 0.7 < heard.segments[-1].end < heard.seconds


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac"])
async def test_compressed_recordings_are_heard(hearing: Any, counting: np.ndarray, format: Any) -> None:
    heard = await hearing.transcribe(audio.encode(counting, 48_000, format))
    assert right_words(heard.text) >= 4


async def test_silence_says_nothing(model: Any) -> None:
    heard = await model.transcribe(audio.encode(np.zeros(48_000, np.float32), 16_000))
    assert (heard.text, heard.segments, heard.seconds) == ("", [], 3.0)


async def test_the_shortest_recording_is_no_error(model: Any) -> None:
    heard = await model.transcribe(audio.encode(np.zeros(1, np.float32), 16_000))
    assert heard.text == ""


async def test_calls_at_once_and_before_change_nothing(model: Any, counting: np.ndarray) -> None:
    recording = audio.encode(counting, 48_000)
    alone = await model.transcribe(recording)
    noise = audio.encode(np.random.default_rng(0).normal(0, 0.2, 16_000).astype(np.float32), 16_000)
    heard = await asyncio.gather(*(model.transcribe(given) for given in (noise, recording, noise, recording)))
    assert heard[1] == heard[3] == alone


async def test_bad_input_names_its_field(model: Any, counting: np.ndarray) -> None:
    with pytest.raises(InvalidInput) as raised:
        await model.transcribe(Audio(b"no sound at all", "audio/wav"))
    assert raised.value.field == "audio"
    with pytest.raises(InvalidInput) as raised:
        await model.transcribe(audio.encode(counting, 48_000), language="tlh")
    assert raised.value.field == "language"


async def test_cancelling_stops_the_listening(
    model: Any, counting: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PocketSphinx takes a third of a recording's length for it; six minutes are half a second for a tiny Whisper.
    times = 120 if model.__class__.__name__ == "FasterWhisper" else 40
    call = model.transcribe(audio.encode(np.tile(counting, times), 48_000))
    assert await seconds_to_stop(model, call, monkeypatch) < 5


@pytest.mark.parametrize("name", NAMES)
async def test_other_options_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, counting: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = audio.encode(counting, 48_000)
    expected = await load(name).transcribe(recording)
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, **other_options(name, OTHER.get(name, {})))
    assert await reload_in_flight(model, lambda: model.transcribe(recording), other, monkeypatch) == expected
    assert (await model.transcribe(recording)).seconds == expected.seconds


@pytest.mark.parametrize(
    ("one", "other", "errors", "agreed"),
    [
        ("a red circle", "a red circle", 0, 1),
        ("a red circle", "a bed circle", 1, 2 / 3),
        ("a red circle", "red circle", 1, 2 / 3),
        ("a red", "a red blue circle", 2, 0.5),
        ("one", "two", 1, 0),
        ("", "one", 1, 0),
        ("", "", 0, 1),
    ],
)
async def test_words_that_differ_are_counted(one: str, other: str, errors: int, agreed: float) -> None:
    assert (word_errors(one, other), agreement(one, other)) == (errors, pytest.approx(agreed))


class TestPocketSphinx:
    """What only PocketSphinx promises."""

    @pytest.mark.parametrize("language", ["en", "en-US", "en_us"])
    async def test_english_is_taken_as_people_write_it(self, load: Any, language: str) -> None:
        quiet = audio.encode(np.zeros(16_000, np.float32), 16_000)
        heard = await load("pocketsphinx").transcribe(quiet, language=language)
        assert heard.language == "en-US"

    async def test_another_language_is_told_what_there_is(self, load: Any, counting: np.ndarray) -> None:
        with pytest.raises(InvalidInput, match="understands en-US only"):
            await load("pocketsphinx").transcribe(audio.encode(counting, 48_000), language="de")

    async def test_pauses_cut_the_recording_and_long_speech_is_cut_too(self, load: Any, counting: np.ndarray) -> None:
        pause = np.zeros(48_000, np.float32)
        heard = await load("pocketsphinx").transcribe(audio.encode(np.concatenate([counting, pause, counting]), 48_000))
        assert [segment.text for segment in heard.segments] == [COUNTING, COUNTING]
        speech = np.tile(counting[26_000:-40_000], 9)  # hardly a pause in ten seconds
        heard = await load("pocketsphinx").transcribe(audio.encode(speech, 48_000))
        assert max(segment.end - segment.start for segment in heard.segments) <= 8.5
        assert heard.text.split().count("three") >= 5

    async def test_a_missing_language_model_is_named(self, options_of: Any) -> None:
        with pytest.raises(ModelUnavailable, match="nowhere"):
            await unloaded("pocketsphinx").reconfigure(options_of("pocketsphinx", language_model="/nowhere.lm"))

    async def test_a_missing_domain_is_named(self, options_of: Any) -> None:
        with pytest.raises(ModelUnavailable, match="nowhere"):
            await unloaded("pocketsphinx").reconfigure(options_of("pocketsphinx", domain="/nowhere"))

    @pytest.mark.slow
    @pytest.mark.parametrize("speaker", SPEAKERS)
    async def test_a_domain_halves_the_errors_on_its_own_and_leaves_ordinary_speech(
        self, load: Any, options_of: Any, speaker: str
    ) -> None:
        alone, ears, mouth = load("pocketsphinx"), unloaded("pocketsphinx"), load("espeak")
        await ears.reconfigure(options_of("pocketsphinx", domain="starter/ears"))
        own, ordinary = [
            {text: await mouth.synthesize(text, voice=speaker) for text in texts} for texts in (OWN, ORDINARY)
        ]
        assert await errors(ears, own) <= await errors(alone, own) / 2
        assert await errors(ears, ordinary) <= await errors(alone, ordinary)

    @pytest.mark.slow
    @pytest.mark.parametrize("speaker", SPEAKERS[1:])
    async def test_a_voice_without_a_room_is_heard_better_with_noise_beneath_it(
        self, load: Any, speaker: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, mouth = load("pocketsphinx"), load("espeak")
        said = {text: await mouth.synthesize(text, voice=speaker) for text in (*OWN, *ORDINARY)}
        filled = await errors(model, said)
        monkeypatch.setattr(pocketsphinx, "FLOOR", 200.0)
        assert filled < await errors(model, said)

    async def test_the_domain_is_surer_where_the_readings_agree(self) -> None:
        general, near, far = (
            pocketsphinx._Heard(text, -5.0, ()) for text in ("what can you prove", "what can you", "a cat")
        )
        first = pocketsphinx._Heard("what can you do", -4.0, ())
        assert pocketsphinx.sureness(general, first, first) == pytest.approx(1 + 1 + 0.75)
        assert pocketsphinx.sureness(general, first, near) == pytest.approx(1 + 0.75 + 0.75)
        assert pocketsphinx.sureness(far, first, far) == pytest.approx(1)

    @pytest.mark.parametrize(("background", "filled"), [(30, 30), (39, 39), (46, 40), (60, 40), (np.inf, 40)])
    async def test_only_a_background_quieter_than_a_room_is_filled(self, background: float, filled: float) -> None:
        """Decibels below the level of the whole."""
        speech = np.concatenate([np.zeros(8_000), 8_000 * np.sin(np.arange(40_000)), np.zeros(8_000)])
        level = np.sqrt(np.square(speech).mean())
        recorded = speech + np.random.default_rng(1).normal(0, level * 10 ** (-background / 20), len(speech))
        heard = pocketsphinx.with_floor(recorded.astype(np.int16))
        quiet = np.sqrt(np.square(heard[:8_000].astype(float)).mean())
        assert -20 * np.log10(quiet / level) == pytest.approx(filled, abs=0.7)
        assert np.array_equal(heard, recorded.astype(np.int16)) == (background == filled)
        assert np.array_equal(heard, pocketsphinx.with_floor(recorded.astype(np.int16)))


class TestMoonshine:
    """What only Moonshine promises."""

    @pytest.fixture(scope="class")
    def people(self) -> dict[str, Audio]:
        """Recordings of people, by what they say."""
        try:
            return recordings(Path(os.environ[WEIGHTS_FOLDER]))
        except BadWeights as error:
            pytest.skip(str(error))

    @pytest.fixture(scope="class")
    def model(self, load: Any) -> Any:
        return load("moonshine")

    async def test_people_are_heard_with_at_most_four_errors_in_a_hundred_words(
        self, model: Any, people: dict[str, Audio]
    ) -> None:
        said = {text: (await model.transcribe(recording)).text for text, recording in people.items()}
        wrong = sum(word_errors(words(text), words(heard)) for text, heard in said.items())
        count = sum(len(words(text).split()) for text in said)
        print(f"\n{wrong} of {count} words wrong")
        assert wrong <= 0.04 * count

    async def test_a_recording_at_a_hundredth_of_its_level_is_heard_the_same(
        self, model: Any, people: dict[str, Audio]
    ) -> None:
        text, recording = min(people.items(), key=lambda item: len(item[0]))
        quiet = audio.encode(audio.decode(recording, 48_000) / 100, 48_000, "flac")
        assert word_errors(words(text), words((await model.transcribe(quiet)).text)) <= 1

    async def test_noise_says_nothing(self, model: Any) -> None:
        noise = np.random.default_rng(0).normal(0, 0.1, 5 * 16_000).astype(np.float32)
        assert (await model.transcribe(audio.encode(noise, 16_000))).text == ""

    @pytest.mark.parametrize("language", ["en", "en-GB", "EN_us", ""])
    async def test_english_is_taken_as_people_write_it(self, model: Any, language: str) -> None:
        quiet = audio.encode(np.zeros(16_000, np.float32), 16_000)
        assert (await model.transcribe(quiet, language=language)).language == "en"

    async def test_another_language_is_for_another_model(self, model: Any, counting: np.ndarray) -> None:
        with pytest.raises(BeyondModel, match="language: is 'fr'; this model understands en only"):
            await model.transcribe(audio.encode(counting, 48_000), language="fr")

    @pytest.mark.parametrize("name", [ENCODER, DECODER, VOCABULARY])
    @pytest.mark.parametrize("damage", ["gone", "cut", "else"])
    async def test_weights_that_are_missing_or_damaged_are_named(self, name: str, damage: str, tmp_path: Path) -> None:
        need("moonshine")
        folder = tmp_path / "weights"
        shutil.copytree(weights_path("moonshine/tiny-en"), folder)
        whole = (folder / name).read_bytes()
        (folder / name).unlink()
        if damage != "gone":
            (folder / name).write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"\xff" * 1000)
        with pytest.raises(ModelUnavailable, match=str(folder)) as failed:
            await unloaded("moonshine").reconfigure(BACKENDS["moonshine"].Options(weights=str(folder)))
        if damage == "gone":
            assert name in str(failed.value) and "medley models pull" in str(failed.value)


@pytest.mark.parametrize("name", telling(NAMES))
async def test_it_tells_how_far_it_is(name: str, load: Any, counting: np.ndarray) -> None:
    told = list[float]()
    with followed_by(told.append):
        heard = await load(name).transcribe(audio.encode(np.tile(counting, 40), 48_000), language="en")
    assert len(told) == len(heard.segments)
    assert len(set(told)) > 2
    assert told == sorted(told)
    assert 0 < told[0] < 0.5
    assert 0.9 < told[-1] <= 1


STREAMING = able(SpeechToText, "stream")


class TestStreaming:
    """Hearing stretch by stretch, for the backends that can."""

    @pytest.fixture(params=STREAMING)
    def model(self, request: pytest.FixtureRequest, load: Any) -> Any:
        return load(request.param)

    @pytest.mark.parametrize("how", [{}, {"language": "en", "word_times": True}, {"translate": True}], ids=str)
    async def test_the_stretches_joined_are_the_transcript(
        self, model: Any, counting: np.ndarray, how: dict[str, Any]
    ) -> None:
        if isinstance(model, Moonshine):
            how = {name: value for name, value in how.items() if name != "word_times"}
        # Whisper's stretches are of 30 s, Moonshine's of 20; PocketSphinx's end at pauses, and it takes longer.
        recording = audio.encode(np.tile(counting, 3 if isinstance(model, PocketSphinx) else 25), 48_000)
        whole = await model.transcribe(recording, **how)
        pieces = [piece async for piece in model.stream(recording, **how)]
        assert Transcript.join(pieces) == whole
        assert len(pieces) > 1 and all(piece.text and piece.seconds == whole.seconds for piece in pieces)

    async def test_silence_is_one_stretch_that_says_nothing(self, model: Any) -> None:
        silence = audio.encode(np.zeros(48_000, np.float32), 16_000)
        pieces = [piece async for piece in model.stream(silence)]
        assert pieces == [await model.transcribe(silence)]

    async def test_the_first_comes_before_the_last_is_read(
        self, model: Any, counting: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = watch(model, monkeypatch)
        pieces = model.stream(audio.encode(np.tile(counting, 60), 48_000), language="en")
        await anext(pieces)
        assert not seen.ended.is_set()
        await pieces.aclose()
        assert await asyncio.to_thread(seen.ended.wait, 10)

    async def test_bad_input_names_its_field(self, model: Any, counting: np.ndarray) -> None:
        for given, field in (({"language": "xx"}, "language"), ({"audio": Audio(b"nothing", "audio/wav")}, "audio")):
            with pytest.raises(InvalidInput) as raised:
                await anext(model.stream(**{"audio": audio.encode(counting, 48_000), **given}))
            assert raised.value.field == field


class TestFasterWhisper:
    """What only faster-whisper promises."""

    async def test_the_task_and_the_language_reach_the_network(self, load: Any, counting: np.ndarray) -> None:
        model, recording = load("faster_whisper"), audio.encode(counting, 48_000)
        said = {
            (language, translate): await model.transcribe(recording, language=language, translate=translate)
            for language in ("en", "de-AT")
            for translate in (False, True)
        }
        assert [heard.language for heard in said.values()] == ["en", "en", "de", "en"]
        assert said["en", False].text != said["en", True].text

    async def test_shorter_stretches_come_sooner(
        self, options_of: Any, counting: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recording = audio.encode(np.tile(counting, 8), 48_000)  # 20 s
        read, answer = dict[int, int](), Reader._answer
        for most in (30, 5):
            read[most] = 0

            def counted(*asked: Any, most: int = most) -> Any:
                read[most] += 1
                return answer(*asked)

            monkeypatch.setattr(Reader, "_answer", counted)
            model = unloaded("faster_whisper")
            await model.reconfigure(options_of("faster_whisper", stretch_s=most))
            pieces = model.stream(recording, language="en")
            await anext(pieces)
            first = read[most]
            assert [segment async for segment in pieces]
            assert first == 1
        assert read[30] == 1 and read[5] >= 4  # the first comes when a quarter at most has been read

    async def test_several_stretches_are_read_together_as_one_by_one(
        self, options_of: Any, counting: np.ndarray
    ) -> None:
        recording = audio.encode(np.tile(counting, 12), 48_000)  # 30 s: more than one stretch
        texts = set[str]()
        for batch in (1, 8):
            model = unloaded("faster_whisper")
            await model.reconfigure(options_of("faster_whisper", batch=batch))
            texts.add((await model.transcribe(recording, language="en")).text)
        assert len(texts) == 1

    async def test_stretches_of_several_recordings_are_read_together_each_for_its_own(
        self, options_of: Any, counting: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = unloaded("faster_whisper")
        await model.reconfigure(options_of("faster_whisper"))
        clips = [audio.encode(np.roll(np.tile(counting, 1 + number), 999 * number), 48_000) for number in range(4)]
        clips *= 10  # more than there are threads for calls
        alone = [await model.transcribe(clip, language="en") for clip in clips[:4]] * 10
        sizes, answer = list[int](), Reader._answer

        def counted(self: Reader, calls: Any) -> Any:
            sizes.append(len(calls))
            return answer(self, calls)

        monkeypatch.setattr(Reader, "_answer", counted)
        assert await asyncio.gather(*(model.transcribe(clip, language="en") for clip in clips)) == alone
        assert max(sizes) > 1
        assert len(sizes) < sum(sizes)
        assert len({heard.text for heard in alone}) > 1

    async def test_weights_of_another_format_are_named(self, options_of: Any, tmp_path: Any) -> None:
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(ModelUnavailable, match=r"model\.bin is needed"):
            await unloaded("faster_whisper").reconfigure(options_of("faster_whisper", weights=str(tmp_path)))

    async def test_damaged_weights_are_named(self, options_of: Any, tmp_path: Any) -> None:
        (tmp_path / "model.bin").write_bytes(b"no numbers")
        with pytest.raises(ModelUnavailable, match="cannot be loaded"):
            await unloaded("faster_whisper").reconfigure(options_of("faster_whisper", weights=str(tmp_path)))
