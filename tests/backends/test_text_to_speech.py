"""The contract of `TextToSpeech`."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments import BACKENDS, audio
from deployments.capabilities import TextToSpeech
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.media import Audio, MediaLimits
from deployments.progress import followed_by

from .harness import REMOTE, able, offering, reload_in_flight, seconds_to_stop, telling, unloaded, watch
from .kokoro_weights import write_kokoro
from .piper_weights import write_piper
from .speech_weights import LETTERS, write_voice
from .xtts_weights import RATE, SPEAKERS, write_xtts

pytestmark = pytest.mark.asyncio
NAMES = offering(TextToSpeech)
TEXT = "The quick brown fox jumps over the lazy dog."
LONG = ("Count with me: one, two, three, four, five, six, seven. " * 80)[:4090]


HASTY: dict[str, Callable[[Path], dict[str, Any]]] = {  # options with which it speaks much faster
    "espeak": lambda folder: {"words_per_minute": 300},
    "kokoro": lambda folder: {
        "weights": str(write_kokoro(folder, seconds=0.02)),
        "voices": str(folder),
    },
    "mms": lambda folder: {
        "voices": [{"name": "en", "language": "en", "weights": str(write_voice(folder, frames=1.6))}]
    },
    "piper": lambda folder: {"voices": [{"name": "low", "weights": str(write_piper(folder, seconds=0.012))}]},
    "xtts": lambda folder: {"weights": str(write_xtts(folder, tokens=20))},
}


def seconds(spoken: Audio) -> float:
    return len(audio.decode(spoken, 16_000)) / 16_000


def loudness(spoken: Audio) -> float:
    return float(np.sqrt(np.square(audio.decode(spoken, 16_000)).mean()))


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
    name: str, load: Any, options_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = seconds(await load(name).synthesize(LONG))
    model = unloaded(name)
    await model.reconfigure(options_of(name))
    other = options_of(name, **(REMOTE[name].other if name in REMOTE else HASTY[name](tmp_path)))
    spoken = await reload_in_flight(model, lambda: model.synthesize(LONG), other, monkeypatch)
    assert seconds(spoken) == pytest.approx(expected, rel=0.01)
    assert seconds(await model.synthesize(LONG)) < 0.7 * expected


@pytest.mark.parametrize("name", telling(NAMES))
async def test_it_tells_how_far_it_is(name: str, load: Any) -> None:
    told = list[float]()
    with followed_by(told.append):
        await load(name).synthesize(LONG)
    assert len(set(told)) > 5
    assert told == sorted(told)
    assert 0 <= told[0] < 0.2
    assert 0.8 < told[-1] <= 1


STREAMING = able(TextToSpeech, "stream")


class TestStreaming:
    """Speaking piece by piece, for the backends that can."""

    @pytest.fixture(params=STREAMING)
    def model(self, request: pytest.FixtureRequest, load: Any) -> Any:
        return load(request.param)

    @pytest.mark.parametrize("format", ["wav", "mp3", "opus", "aac", "flac", "pcm"])
    async def test_the_pieces_joined_are_the_file(self, model: Any, format: Any) -> None:
        whole = await model.synthesize(f"{TEXT} {TEXT}", format=format)
        pieces = [piece async for piece in model.stream(f"{TEXT} {TEXT}", format=format)]
        assert {piece.media_type for piece in pieces} == {whole.media_type}
        assert len(pieces) > 1
        assert all(piece.data for piece in pieces[:-1])
        joined = Audio.join(pieces)
        assert seconds(joined) == pytest.approx(seconds(whole), abs=0.15)
        assert loudness(joined) == pytest.approx(loudness(whole), rel=0.1)
        if format != "pcm":
            assert Audio.checked(joined.data, MediaLimits()) == joined

    @pytest.mark.parametrize("speed", [0.25, 2.0])
    async def test_speed_divides_the_length(self, model: Any, speed: float) -> None:
        whole = seconds(await model.synthesize(TEXT, speed=speed))
        pieces = [piece.data async for piece in model.stream(TEXT, speed=speed, format="pcm")]
        assert len(b"".join(pieces)) / 2 / audio.PCM_RATE == pytest.approx(whole, rel=0.05)

    async def test_the_first_comes_before_the_last_is_spoken(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = watch(model, monkeypatch)
        pieces = model.stream(LONG, format="aac")
        await anext(pieces)
        assert not seen.ended.is_set()
        await pieces.aclose()
        assert await asyncio.to_thread(seen.ended.wait, 2)
        await asyncio.wait_for(model.synthesize(TEXT), 5)  # nothing is left locked

    @pytest.mark.parametrize(
        ("field", "given"), [("text", {"text": " "}), ("voice", {"voice": "nobody-at-all"}), ("speed", {"speed": 9})]
    )
    async def test_bad_input_names_its_field(self, model: Any, field: str, given: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput) as raised:
            await anext(model.stream(**{"text": TEXT, **given}))
        assert raised.value.field == field


class TestESpeak:
    """What only eSpeak NG promises."""

    async def test_it_has_a_hundred_languages_and_openai_names(self, load: Any) -> None:
        voices = await load("espeak").voices()
        assert len({voice.language.split("-")[0] for voice in voices}) > 100
        assert {"alloy", "echo", "fable", "onyx", "nova", "shimmer"} <= {voice.name for voice in voices}

    @pytest.mark.parametrize("speed", [0.25, 0.5, 1.0, 4.0])
    @pytest.mark.parametrize(
        "text", [".", "-", "\ufffd", "\u200b", "\xad", "\ue000", "\ud800", "\ufeff\n", "\u2028\x00"]
    )
    async def test_a_text_that_is_no_sound_is_refused_at_any_speed(self, load: Any, text: str, speed: float) -> None:
        model = load("espeak")
        for call in (lambda: model.synthesize(text, speed=speed), lambda: anext(model.stream(text, speed=speed))):
            with pytest.raises(InvalidInput) as raised:
                await call()
            assert (raised.value.field, raised.value.status) == ("text", 422)

    async def test_a_soft_hyphen_is_not_spoken(self, load: Any) -> None:
        espeak = load("espeak")
        plain = seconds(await espeak.synthesize("international"))
        assert seconds(await espeak.synthesize("in\xadter\xadna\xadtion\xadal")) == pytest.approx(plain, rel=0.03)
        assert seconds(await espeak.synthesize("in ter na tion al")) > 1.2 * plain

    @pytest.mark.parametrize(
        ("voice", "joined", "apart"),
        [("fa", "می\u200cخواهم", "می خواهم"), ("hi", "क्\u200dष", "क् ष")],
    )
    async def test_a_joiner_reaches_the_voice(self, load: Any, voice: str, joined: str, apart: str) -> None:
        espeak = load("espeak")
        assert await espeak.synthesize(joined, voice=voice) != await espeak.synthesize(apart, voice=voice)

    @pytest.mark.parametrize("line", ["\n\n", "\r\n\r\n", "\r\r", "\u2029\u2029", "\x85\x85"])
    async def test_a_paragraph_is_a_pause(self, load: Any, line: str) -> None:
        espeak = load("espeak")
        together = seconds(await espeak.synthesize("Milk Eggs Bread Tea"))
        assert seconds(await espeak.synthesize(line.join(["Milk", "Eggs", "Bread", "Tea"]))) > together + 0.3

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
        assert spoken[0] == pytest.approx(spoken[1], abs=0.02)  # by what eSpeak has said before, it is 10 ms at times

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


class TestMMS:
    """What only MMS's voices promise."""

    async def test_the_same_text_and_seed_give_the_same_speech_also_beside_others(self, load: Any, fresh: Any) -> None:
        mms = load("mms")
        alone = await mms.synthesize(TEXT)
        beside = await asyncio.gather(*(mms.synthesize(TEXT if i % 2 else "one two") for i in range(4)))
        assert beside[1] == beside[3] == alone
        other = await asyncio.to_thread(fresh, "mms", seed=1)
        assert await other.synthesize(TEXT) != alone

    async def test_it_leaves_the_process_its_random_numbers(self, load: Any) -> None:
        import torch

        torch.manual_seed(7)
        expected = torch.rand(1)
        torch.manual_seed(7)
        await load("mms").synthesize(TEXT)
        assert torch.equal(torch.rand(1), expected)

    async def test_speech_is_the_networks_own(self, load: Any, voices_weights: Path) -> None:
        """Against transformers' model and tokenizer, called as their documentation says."""
        import torch
        from transformers import VitsModel, VitsTokenizer

        network: Any = VitsModel.from_pretrained(voices_weights / "en-us").eval()
        tokenizer: Any = VitsTokenizer.from_pretrained(voices_weights / "en-us")
        torch.manual_seed(0)
        with torch.inference_mode():
            expected = network(**tokenizer(TEXT, return_tensors="pt")).waveform[0].numpy()
        spoken = audio.decode(await load("mms").synthesize(TEXT), 16_000)
        assert len(spoken) == len(expected)
        assert np.abs(spoken - expected.clip(-1, 1)).max() < 0.001

    async def test_sentences_are_spoken_one_by_one_with_a_pause(self, load: Any) -> None:
        from deployments.text_to_speech.mms import PAUSE_S

        mms = load("mms")
        single = [seconds(await mms.synthesize(text)) for text in ("One two.", "Three four!")]
        assert seconds(await mms.synthesize("One two. Three four!")) == pytest.approx(sum(single) + PAUSE_S, abs=0.001)

    @pytest.mark.parametrize("text", ["...", "你好，世界", "что это"])
    async def test_what_it_has_no_sound_for_is_refused(self, load: Any, text: str) -> None:
        with pytest.raises(InvalidInput, match="the voice en-us has sounds for 0") as raised:
            await load("mms").synthesize(text)
        assert raised.value.field == "text"

    async def test_a_voice_without_digits_leaves_few_out_and_refuses_many(self, fresh: Any, tmp_path: Path) -> None:
        weights = write_voice(tmp_path, letters=LETTERS.rstrip("0123456789"))
        voices = [{"name": "en", "language": "en", "weights": str(weights)}]
        mms = await asyncio.to_thread(fresh, "mms", voices=voices)
        assert await mms.synthesize("Seven dwarfs and 1.") == await mms.synthesize("Seven dwarfs and.")
        with pytest.raises(InvalidInput, match="10 letters and digits; the voice en has sounds for 2"):
            await mms.synthesize("In 1998 / 2026.")

    async def test_capitals_and_typographic_signs_are_read(self, load: Any) -> None:
        mms = load("mms")
        assert await mms.synthesize("DON’T") == await mms.synthesize("don't")

    async def test_two_voices_of_one_name_are_refused(self, options_of: Any) -> None:
        one = {"name": "en", "language": "en", "weights": "x"}
        with pytest.raises(ValueError, match="same name"):
            options_of("mms", voices=[one, one])

    async def test_no_piece_is_too_long_and_nothing_is_lost(self) -> None:
        from deployments.text_to_speech.sentences import pieces

        text = (
            "First one. Second, which is longer, much longer than the first? 第三句。第四句。 " + "x" * 45 + " the end"
        )
        cut = pieces(text, 20)
        assert cut[:2] == ["First one.", "Second,"]
        assert cut[2:5] == ["which is longer,", "much longer than the", "first?"]
        assert cut[5:7] == ["第三句。", "第四句。"]
        assert max(map(len, cut)) <= 20
        assert "".join(cut).replace(" ", "") == text.replace(" ", "")

    @pytest.mark.parametrize("content", ["empty", "pickle", "damaged", "another network", "phonemes", "more letters"])
    async def test_what_is_no_voice_leaves_the_old_in_use(self, fresh: Any, tmp_path: Path, content: str) -> None:
        import json
        import shutil

        from deployments.backend import STARTER

        if content == "pickle":
            (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
        elif content == "damaged":
            (write_voice(tmp_path) / "model.safetensors").write_bytes(b"not at all")
        elif content == "another network":
            shutil.copytree(STARTER / "restorer/weights", tmp_path, dirs_exist_ok=True)
        elif content == "phonemes":
            told = json.loads((write_voice(tmp_path) / "tokenizer_config.json").read_text())
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(told | {"phonemize": True}))
        elif content == "more letters":
            letters = json.loads((write_voice(tmp_path) / "vocab.json").read_text())
            (tmp_path / "vocab.json").write_text(json.dumps(letters | {"ß": len(letters)}))
        mms = await asyncio.to_thread(fresh, "mms")
        voices = [{"name": "en", "language": "en", "weights": str(tmp_path)}]
        with pytest.raises(ModelUnavailable):
            await mms.reconfigure(BACKENDS["mms"].Options(voices=voices))
        assert seconds(await mms.synthesize(TEXT)) > 2


def tone(seconds: float, pitch: float = 220.0) -> Audio:
    """A tone with overtones, as a WAV."""
    at = np.arange(round(seconds * 16_000)) / 16_000
    wave = np.sum([np.sin(2 * np.pi * pitch * n * at) / n for n in (1, 2, 3)], axis=0)
    return audio.encode((0.3 * wave).astype(np.float32), 16_000)


@pytest.fixture
def xtts(load: Any) -> Any:
    return load("xtts")


class TestXTTS:
    """What only XTTS promises."""

    async def test_speech_is_the_networks_own(self, xtts: Any, xtts_weights: Path) -> None:
        """Against the library, called as its documentation says."""
        import torch
        from safetensors.torch import load_file

        from deployments.text_to_speech.xtts_weights import built

        network = built(xtts_weights)
        network.load_state_dict(load_file(xtts_weights / "model.safetensors"))
        network.eval()
        speakers = load_file(xtts_weights / "speakers.safetensors")
        manner, voice = (speakers[f"Viktor.{part}"] for part in ("gpt_cond_latent", "speaker_embedding"))
        config = network.config
        drawn = {name: config[name] for name in ("temperature", "length_penalty", "repetition_penalty")}
        torch.manual_seed(0)
        expected = network.inference("Good day.", "de", manner, voice, top_k=config.top_k, top_p=config.top_p, **drawn)
        spoken = audio.decode(await xtts.synthesize("Good day.", voice="Viktor@de"), RATE)
        assert spoken.std() > 0.02
        assert np.abs(spoken - expected["wav"]).max() < 0.001

    async def test_every_speaker_speaks_every_language(self, xtts: Any) -> None:
        voices = {voice.name: voice.language for voice in await xtts.voices()}
        plain = dict.fromkeys(SPEAKERS, "en")
        assert voices == plain | {f"{name}@de": "de" for name in SPEAKERS}
        english = await xtts.synthesize("So", voice="Viktor")
        assert english == await xtts.synthesize("So", voice="Viktor@en-GB")
        assert english != await xtts.synthesize("So", voice="Viktor@de")

    async def test_the_same_text_and_seed_give_the_same_speech_also_beside_others(self, xtts: Any, fresh: Any) -> None:
        alone = await xtts.synthesize("one two")
        beside = await asyncio.gather(*(xtts.synthesize("one two" if i % 2 else "three") for i in range(4)))
        assert beside[1] == beside[3] == alone != beside[0]
        other = await asyncio.to_thread(fresh, "xtts", seed=1)
        assert await other.synthesize("one two") != alone

    async def test_a_clone_takes_after_its_reference(self, xtts: Any) -> None:
        low, high = tone(4, 110), tone(4, 440)
        spoken = await xtts.clone("one two", low)
        assert spoken.media_type == "audio/wav"
        assert seconds(spoken) == pytest.approx(seconds(await xtts.synthesize("one two")), abs=0.05)
        assert spoken == await xtts.clone("one two", low, language="en")
        assert spoken != await xtts.clone("one two", high)
        assert spoken != await xtts.clone("one two", low, language="de")
        fast = await xtts.clone("one two", low, speed=2, format="flac")
        assert fast.media_type == "audio/flac"
        assert seconds(fast) == pytest.approx(seconds(spoken) / 2, rel=0.1)

    @pytest.mark.parametrize(
        ("field", "arguments"),
        [
            ("reference", {"reference": Audio(b"nothing", "audio/wav")}),
            ("reference", {"reference": tone(0.9)}),
            ("reference", {"reference": audio.encode(np.zeros(48_000, np.float32), 16_000)}),
            ("language", {"language": "xx"}),
            ("text", {"text": " "}),
            ("text", {"text": "Ж" * 20}),
            ("speed", {"speed": 5.0}),
        ],
    )
    async def test_a_clone_of_bad_input_names_its_field(self, xtts: Any, field: str, arguments: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput) as raised:
            await xtts.clone(**{"text": TEXT, "reference": tone(2), **arguments})
        assert raised.value.field == field

    async def test_a_voice_in_an_unknown_language_is_told_the_known_ones(self, xtts: Any) -> None:
        with pytest.raises(InvalidInput, match="en, de") as raised:
            await xtts.synthesize("hello", voice="Viktor@fr")
        assert raised.value.field == "voice"

    async def test_commands_of_the_vocabulary_are_read_and_not_obeyed(self, xtts: Any) -> None:
        assert await xtts.synthesize("one [de] two") == await xtts.synthesize("one (de) two")

    async def test_a_text_of_more_tokens_than_there_is_room_for_is_divided(self, xtts: Any) -> None:
        digits = " ".join(["777777777"] * 20)  # 200 characters, each number a line of words
        assert seconds(await xtts.synthesize(digits)) > 3 * seconds(await xtts.synthesize("one"))

    @pytest.mark.parametrize(
        "changes", [{"voice": "Nobody"}, {"voice": "Viktor@fr"}, {"language": "fr"}], ids=lambda changes: str(changes)
    )
    async def test_options_that_the_weights_lack_are_refused(self, xtts_weights: Path, changes: Any) -> None:
        model = unloaded("xtts")
        with pytest.raises(ModelUnavailable, match=r"is 'fr'|is 'Nobody'"):
            await model.reconfigure(model.Options(weights=str(xtts_weights), **changes))

    async def test_published_pickles_are_converted_and_never_loaded(
        self, xtts: Any, xtts_weights: Path, tmp_path: Path
    ) -> None:
        import shutil

        import torch
        from safetensors.torch import load_file

        from deployments.text_to_speech.xtts_weights import convert

        for name in ("config.json", "vocab.json"):
            shutil.copy(xtts_weights / name, tmp_path)
        torch.save({"model": load_file(xtts_weights / "model.safetensors")}, tmp_path / "model.pth")
        known: dict[str, dict[str, Any]] = {}
        for name, tensor in load_file(xtts_weights / "speakers.safetensors").items():
            known.setdefault(name.split(".")[0], {})[name.split(".")[1]] = tensor
        torch.save(known, tmp_path / "speakers_xtts.pth")
        model = unloaded("xtts")
        with pytest.raises(ModelUnavailable, match="only pickled weights"):
            await model.reconfigure(model.Options(weights=str(tmp_path)))
        convert(tmp_path)
        await model.reconfigure(model.Options(weights=str(tmp_path)))
        assert await model.synthesize("one") == await xtts.synthesize("one")

    async def test_a_pickle_that_runs_code_is_not_converted(
        self, xtts: Any, xtts_weights: Path, tmp_path: Path
    ) -> None:
        import pickle
        import shutil

        from deployments.text_to_speech.xtts_weights import convert

        class Harmful:
            def __reduce__(self) -> Any:
                return (Path.touch, (tmp_path / "harmed",))

        for name in ("config.json", "vocab.json"):
            shutil.copy(xtts_weights / name, tmp_path)
        (tmp_path / "model.pth").write_bytes(pickle.dumps({"model": Harmful()}))
        with pytest.raises(pickle.UnpicklingError):
            convert(tmp_path)
        assert not (tmp_path / "harmed").exists()

    @pytest.mark.parametrize("content", ["empty", "damaged", "another network", "no speakers", "another config"])
    async def test_what_is_no_xtts_leaves_the_old_in_use(
        self, fresh: Any, xtts_weights: Path, tmp_path: Path, content: str
    ) -> None:
        import shutil

        from deployments.backend import STARTER

        model = await asyncio.to_thread(fresh, "xtts")
        if content == "another network":
            shutil.copytree(STARTER / "restorer/weights", tmp_path, dirs_exist_ok=True)
        elif content != "empty":
            shutil.copytree(xtts_weights, tmp_path, dirs_exist_ok=True)
        if content == "damaged":
            (tmp_path / "model.safetensors").write_bytes(b"not at all")
        elif content == "no speakers":
            (tmp_path / "speakers.safetensors").unlink()
        elif content == "another config":
            (tmp_path / "config.json").write_text('{"model": "vits"}')
        with pytest.raises(ModelUnavailable):
            await model.reconfigure(BACKENDS["xtts"].Options(weights=str(tmp_path)))
        assert seconds(await model.synthesize("one")) > 2
