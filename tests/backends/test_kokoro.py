"""What only the Kokoro backend promises."""

import threading
from pathlib import Path
from typing import Any

import pytest

from deployments import BACKENDS, audio
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.speech_to_text.word_error import word_errors
from deployments.text_to_speech.phonemes import phonemes
from tests.media.real_speech import words

from .harness import PULLED, need, unloaded
from .kokoro_weights import VOICES, write_kokoro

SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Please turn on the light in the kitchen before dinner.",
    "I would like a cup of coffee with a little milk.",
    "Could you tell me the way to the nearest station?",
    "My brother works as a teacher in a small village.",
)


def test_phonemes_keep_the_punctuation_and_every_clause() -> None:
    never = threading.Event()
    assert phonemes("Hello, world.", "en-us", never) == "həlˈoʊ, wˈɜːld."
    assert phonemes("Bonjour!", "fr-fr", never).endswith("ʒˈuʁ!")
    assert phonemes(" ", "en-us", never).strip() == ""
    long = phonemes("one two three " * 100, "en-us", never)
    assert long.count("θɹˈiː") == 100


async def test_voices_say_their_language_and_openais_names_are_of_their_kind(load: Any) -> None:
    model = load("kokoro")
    assert [(voice.name, voice.language) for voice in await model.voices()] == [
        (VOICES[0], "en-us"),
        (VOICES[1], "en-gb"),
    ]
    for name, voice in (("alloy", VOICES[0]), ("onyx", VOICES[1])):
        assert (await model.synthesize("Hello.", voice=name)).data == (
            await model.synthesize("Hello.", voice=voice)
        ).data
    with pytest.raises(InvalidInput, match=f"there are: {', '.join(VOICES)}"):
        await model.synthesize("Hello.", voice="af_nobody")


async def test_sentences_sound_one_by_one(load: Any) -> None:
    text = "This is a sentence of some length, is it not? " * 6
    pieces = [piece async for piece in load("kokoro").stream(text, format="pcm")]
    assert len(pieces) >= 6
    whole = await load("kokoro").synthesize(text, format="pcm")
    assert b"".join(piece.data for piece in pieces) == whole.data


@pytest.mark.parametrize("lacking", ["model.onnx", "config.json", "*.bin"])
async def test_what_is_missing_or_damaged_is_named(lacking: str, tmp_path: Path) -> None:
    write_kokoro(tmp_path)
    options = BACKENDS["kokoro"].Options(weights=str(tmp_path), voices=str(tmp_path))
    files = sorted(tmp_path.glob(lacking))  # noqa: ASYNC240 - a folder of the test
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        await unloaded("kokoro").reconfigure(options)
    for file in files:
        file.unlink()
    with pytest.raises(ModelUnavailable, match=r"has no (model\.onnx|config\.json|voice)"):
        await unloaded("kokoro").reconfigure(options)


async def test_real_weights_are_understood() -> None:
    need("kokoro-v1")
    need("moonshine")
    model, ears = unloaded("kokoro"), unloaded("moonshine")
    await model.reconfigure(BACKENDS["kokoro"].Options(weights=PULLED["kokoro-v1"]))
    await ears.reconfigure(BACKENDS["moonshine"].Options(weights=PULLED["moonshine"], threads=2))
    for voice in await model.voices():
        heard = []
        for sentence in SENTENCES:
            spoken = await model.synthesize(sentence, voice=voice.name)
            heard.append((await ears.transcribe(spoken)).text)
            assert 1.5 < len(audio.decode(spoken, 16_000)) / 16_000 < 6
        said = words(" ".join(SENTENCES))
        assert word_errors(said, words(" ".join(heard))) <= 0.04 * len(said.split()), voice.name
