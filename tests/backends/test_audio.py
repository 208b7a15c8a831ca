"""`deployments/audio.py`: what is written can be read, at every rate and in every format."""

import io
import threading
import wave
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest

from deployments import audio
from deployments.errors import InvalidInput
from deployments.media import Audio, MediaLimits

RATE = 22_050
TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "pcm": "audio/pcm",
}


def tone(hertz: float = 440, seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(np.arange(int(seconds * rate)) / rate * 2 * np.pi * hertz)).astype(np.float32)


def pitch(samples: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples.astype(np.float32))).argmax() * rate / len(samples))


@pytest.mark.parametrize("format", TYPES)
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_what_is_encoded_decodes_to_the_same_sound(format: Any, dtype: Any) -> None:
    samples = tone() if dtype == "float32" else (tone() * 32767).astype(np.int16)
    written = audio.encode(samples, RATE, format)
    assert written.media_type == TYPES[format]
    read = audio.decode(written, 16_000, dtype=dtype)
    assert read.dtype == dtype
    assert read.ndim == 1
    assert 1.98 < len(read) / 16_000 < 2.15
    assert pitch(read, 16_000) == pytest.approx(440, abs=1)
    loudness = 1 if dtype == "float32" else 32767
    assert np.abs(read).max() / loudness == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("format", TYPES)
@pytest.mark.parametrize("cut", [1, 777, 30_000])
def test_what_is_encoded_piece_by_piece_is_the_same_sound(format: Any, cut: int) -> None:
    samples = tone(seconds=0.2 if cut == 1 else 2.0)
    file, data = audio.Passing(), b""
    encoder = audio.Encoder(file, RATE, format)
    for at in range(0, len(samples), cut):
        encoder.write(samples[at : at + cut])
        data += file.taken()
    early = len(data)
    encoder.end()
    data += file.taken()
    read = audio.decode(Audio(data, encoder.media_type), 16_000)
    whole = audio.decode(audio.encode(samples, RATE, format), 16_000)
    assert -0.02 < (len(read) - len(whole)) / 16_000 < 0.1  # MP3 without a header has the encoder's quiet beginning
    assert pitch(read, 16_000) == pytest.approx(440, abs=5)
    assert np.abs(read).max() == pytest.approx(0.5, abs=0.04)
    if cut == 777:
        assert early > 0.7 * len(data)  # it left as it came


@pytest.mark.parametrize("format", [format for format in TYPES if format != "pcm"])
def test_what_is_encoded_is_media_with_the_same_type(format: Any) -> None:
    written = audio.encode(tone(), RATE, format)
    assert Audio.checked(written.data, MediaLimits()) == written


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_stereo_decode_to_mono(rate: int, channels: int) -> None:

    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((channels, 2, rate, 0, "NONE", ""))
        out.writeframes((tone(rate=rate) * 32767).astype("<i2").repeat(channels).tobytes())
    read = audio.decode(Audio(file.getvalue(), "audio/wav"), 16_000)
    assert len(read) == pytest.approx(32_000, abs=40)
    assert pitch(read, 16_000) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"not sound at all" * 100, b"#EXTM3U\nfile:///etc/passwd\n"])
def test_what_is_no_sound_names_the_audio(data: bytes) -> None:
    with pytest.raises(InvalidInput) as raised:
        audio.decode(Audio(data, "audio/wav"), 16_000)
    assert raised.value.field == "audio"


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(InvalidInput, match="'wma'") as raised:
        audio.encode(tone(), RATE, "wma")  # type: ignore[arg-type]
    assert raised.value.field == "format"


def test_a_cut_off_file_gives_what_it_holds() -> None:
    whole = audio.encode(tone(seconds=4), RATE, "mp3")
    half = audio.decode(Audio(whole.data[: len(whole.data) // 2], "audio/mpeg"), 16_000)
    assert len(half) / 16_000 == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("factor", [0.25, 0.5, 0.8, 1.5, 4.0])
def test_another_tempo_keeps_the_pitch(factor: float) -> None:
    other = audio.at_tempo((tone() * 32767).astype(np.int16), RATE, factor)
    assert other.dtype == np.int16
    assert len(other) / RATE == pytest.approx(2 / factor, rel=0.03)
    assert pitch(other, RATE) == pytest.approx(440, abs=3)


def test_encoding_stops_when_it_is_cancelled() -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(CancelledError):
        audio.encode(tone(), RATE, "aac", cancelled)


@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize(("left", "right"), [(1.0, -1.0), (0.5, -0.49), (-0.2, 0.2)])
def test_channels_of_opposite_phases_do_not_cancel_each_other_out(left: float, right: float, dtype: Any) -> None:
    both = np.stack([tone() * left, tone() * right], 1)
    heard = audio.decode(Audio(stereo(both), "audio/wav"), RATE, dtype=dtype) / (1 if dtype == "float32" else 32767)
    louder = max(abs(left), abs(right)) * np.abs(tone()).max()
    assert np.abs(heard).max() == pytest.approx(louder, rel=0.02)


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_channels_are_mixed_as_ffmpeg_does(dtype: Any) -> None:
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (8000, 2))
    samples = (noise * 32767).astype("<i2")
    mean = samples.astype(np.int32).sum(1) / 2
    heard = audio.decode(Audio(stereo(noise), "audio/wav"), RATE, dtype=dtype) * (32768 if dtype == "float32" else 1)
    assert np.abs(heard - mean).max() <= 1


def stereo(samples: "np.ndarray") -> bytes:
    """A WAV of 16 bits: of samples (n, 2) within -1..1."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setparams((2, 2, RATE, 0, "NONE", ""))
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
