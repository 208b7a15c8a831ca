"""What only the Piper backend promises."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from deployments import BACKENDS, audio
from deployments.errors import InvalidInput, ModelUnavailable

from .harness import unloaded
from .piper_weights import RATE, SECONDS, SPEAKERS, write_piper


def options(*voices: dict[str, Any]) -> Any:
    return BACKENDS["piper"].Options(voices=list(voices))


def pitch(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


async def test_the_network_gets_begin_end_and_a_blank_after_each_phoneme(tmp_path: Path) -> None:
    model = unloaded("piper")
    await model.reconfigure(options({"name": "a", "weights": str(write_piper(tmp_path))}))
    samples = audio.decode(await model.synthesize("Hello."), RATE)
    phonemes = "həlˈoʊ."
    assert len(samples) == pytest.approx((2 * len(phonemes) + 3) * SECONDS * RATE + 0.2 * RATE, abs=5)


async def test_speakers_of_one_network_are_voices(tmp_path: Path) -> None:
    weights, model = str(write_piper(tmp_path, speakers=SPEAKERS)), unloaded("piper")
    voices = [{"name": name, "weights": weights, "speaker": name} for name in ("high", "low")]
    await model.reconfigure(options(*voices, {"name": "first", "weights": weights}))
    assert [(voice.name, voice.language) for voice in await model.voices()] == [
        (name, "en-us") for name in ("high", "low", "first")
    ]
    heard = {
        name: pitch(audio.decode(await model.synthesize("Good morning.", voice=name), RATE))
        for name in ("high", "low", "first")
    }
    assert heard["high"] == pytest.approx(2 * heard["low"], rel=0.02) and heard["first"] == heard["low"]
    assert (await model.synthesize("Hello.")).data == (await model.synthesize("Hello.", voice="high")).data
    with pytest.raises(InvalidInput, match="'nobody'; there are: high, low, first"):
        await model.synthesize("Hello.", voice="nobody")


async def test_two_voices_of_a_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two voices have the same name"):
        options({"name": "a", "weights": "x"}, {"name": "a", "weights": "y"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"phoneme_type": "text"}, "it reads text, and not eSpeak's phonemes"),
        ({"phoneme_id_map": None}, "cannot be loaded"),
        ({"audio": {}}, "lacks 'sample_rate'"),
        ({"espeak": {}}, "lacks 'voice'"),
    ],
)
async def test_a_description_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    folder = write_piper(tmp_path)
    described = folder / "voice.onnx.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | change))
    with pytest.raises(ModelUnavailable, match=reason):
        await unloaded("piper").reconfigure(options({"name": "a", "weights": str(folder)}))


async def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    folder = write_piper(tmp_path)
    with pytest.raises(ModelUnavailable, match="no speaker 'ann'; there are: none"):
        await unloaded("piper").reconfigure(options({"name": "a", "weights": str(folder), "speaker": "ann"}))
    network = folder / "voice.onnx"
    network.write_bytes(network.read_bytes()[:100])
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        await unloaded("piper").reconfigure(options({"name": "a", "weights": str(folder)}))
    (folder / "voice.onnx.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"no folder with one NAME\.onnx and its NAME\.onnx\.json"):
        await unloaded("piper").reconfigure(options({"name": "a", "weights": str(folder)}))
