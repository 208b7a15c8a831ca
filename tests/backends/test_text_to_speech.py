"""The contract of `TextToSpeech`."""

import asyncio
import re
from typing import Any

import numpy as np
import pytest

from deployments import BACKENDS, audio
from deployments.capabilities import TextToSpeech
from deployments.errors import InvalidInput
from deployments.media import Audio, MediaLimits

from .harness import offering, other_options, reload_in_flight, seconds_to_stop

pytestmark = pytest.mark.asyncio
NAMES = offering(TextToSpeech)
TEXT = "The quick brown fox jumps over the lazy dog."
LONG = ("Count with me: one, two, three, four, five, six, seven. " * 80)[:4090]


def seconds(spoken: Audio) -> float:
    return len(audio.decode(spoken, 16_000)) / 16_000


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, load: Any) -> Any:
    return load(request.param)


async def test_speech_is_wav_of_a_plausible_length_and_loudness(model: Any) -> None:
    spoken = await model.synthesize(TEXT)
    assert spoken.media_type == "audio/wav"
    assert Audio.checked(spoken.data, MediaLimits()) == spoken
    assert 2 < seconds(spoken) < 5  # nine words
    assert np.sqrt(np.square(audio.decode(spoken, 16_000)).mean()) > 0.02


@pytest.mark.parametrize("format", ["wav", "mp3", "opus", "aac", "flac", "pcm"])
async def test_every_format_holds_the_same_speech(model: Any, format: Any) -> None:
    expected = seconds(await model.synthesize(TEXT))
    spoken = await model.synthesize(TEXT, format=format)
    assert seconds(spoken) == pytest.approx(expected, abs=0.15)
    if format != "pcm":
        assert Audio.checked(spoken.data, MediaLimits()) == spoken


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
async def test_speed_divides_the_length(model: Any, speed: float) -> None:
    ratio = seconds(await model.synthesize(TEXT, speed=speed)) / seconds(await model.synthesize(TEXT))
    assert ratio == pytest.approx(1 / speed, rel=0.25)


async def test_every_voice_speaks(model: Any) -> None:
    voices = await model.voices()
    assert len({voice.name for voice in voices}) == len(voices) > 0
    for voice in voices:
        assert re.fullmatch(r"[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8})*", voice.language)
        spoken = await model.synthesize("ba da 1 2 3 аб", voice=voice.name)
        assert seconds(spoken) > 0.7, voice.name


async def test_voices_differ(model: Any) -> None:
    names = [voice.name for voice in await model.voices()]
    some = [(await model.synthesize("one two", voice=name)).data for name in (names[0], names[-1])]
    assert some[0] != some[1]


async def test_calls_at_once_do_not_mix(model: Any) -> None:
    speeds = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
    alone = [seconds(await model.synthesize(TEXT, speed=speed)) for speed in speeds]
    beside = await asyncio.gather(*(model.synthesize(TEXT, speed=speed) for speed in speeds))
    assert [seconds(spoken) for spoken in beside] == pytest.approx(alone, rel=0.02)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("text", {"text": ""}),
        ("text", {"text": " \n\t "}),
        ("text", {"text": "x" * 100_000}),
        ("voice", {"voice": "nobody-at-all"}),
        ("voice", {"voice": ""}),
        ("voice", {"voice": "../../etc/passwd"}),
        ("speed", {"speed": 0.2}),
        ("speed", {"speed": 4.1}),
        ("speed", {"speed": float("nan")}),
        ("format", {"format": "wma"}),
    ],
)
async def test_bad_input_names_its_field(model: Any, field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        await model.synthesize(**{"text": TEXT, **arguments})
    assert raised.value.field == field


async def test_cancelling_stops_the_speaking(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    call = model.synthesize(LONG, speed=0.25, format="aac")  # some ten seconds of work
    assert await seconds_to_stop(model, call, monkeypatch) < 1
    await asyncio.wait_for(model.synthesize(TEXT), 2)  # nothing is left locked


@pytest.mark.parametrize("name", NAMES)
async def test_other_options_do_not_disturb_a_call_in_flight(
    name: str, load: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = seconds(await load(name).synthesize(LONG))
    model = BACKENDS[name]()
    await model.reconfigure(options_of(name))
    other = options_of(name, **other_options(name, {"words_per_minute": 300}))
    spoken = await reload_in_flight(model, lambda: model.synthesize(LONG), other, monkeypatch)
    assert seconds(spoken) == pytest.approx(expected, rel=0.01)
    assert seconds(await model.synthesize(LONG)) < 0.7 * expected


class TestESpeak:
    """What only eSpeak NG promises."""

    async def test_it_has_a_hundred_languages_and_openai_names(self, load: Any) -> None:
        voices = await load("espeak").voices()
        assert len({voice.language.split("-")[0] for voice in voices}) > 100
        assert {"alloy", "echo", "fable", "onyx", "nova", "shimmer"} <= {voice.name for voice in voices}

    async def test_openai_names_are_different_speakers(self, load: Any) -> None:
        from deployments.text_to_speech.espeak import OPENAI_VOICES

        spoken = {(await load("espeak").synthesize("hello", voice=name)).data for name in OPENAI_VOICES}
        assert len(spoken) == len(OPENAI_VOICES)

    @pytest.mark.parametrize(
        ("asked", "meant"), [("EN-US", "en-us"), ("fr", "fr-fr"), ("zh", "cmn"), ("en+f3", "en-gb+f3")]
    )
    async def test_tags_are_taken_as_people_write_them(self, load: Any, asked: str, meant: str) -> None:
        espeak = load("espeak")
        spoken = [seconds(await espeak.synthesize(TEXT, voice=voice)) for voice in (asked, meant)]
        assert spoken[0] == pytest.approx(spoken[1], abs=0.01)

    @pytest.mark.parametrize(
        ("asked", "near"), [("en-uss", "en-us"), ("alloi", "alloy"), ("en-us+f9", "f3"), ("de+anni", "Annie")]
    )
    async def test_an_unknown_voice_is_told_near_ones(self, load: Any, asked: str, near: str) -> None:
        with pytest.raises(InvalidInput, match=re.escape(near)):
            await load("espeak").synthesize("hello", voice=asked)

    async def test_markup_is_read_out_and_not_obeyed(self, load: Any) -> None:
        espeak = load("espeak")
        plain = seconds(await espeak.synthesize("hello"))
        assert seconds(await espeak.synthesize("<speak>hello<break time='30s'/></speak>")) < 30
        assert seconds(await espeak.synthesize("<prosody>hello</prosody>")) > plain + 0.5

    async def test_control_characters_neither_command_nor_end_the_text(self, load: Any) -> None:
        espeak = load("espeak")
        expected = seconds(await espeak.synthesize("hello 1s there, and more"))
        spoken = await espeak.synthesize("hello \x011s there,\x00and more\x1b")
        assert seconds(spoken) == pytest.approx(expected, abs=0.05)
