"""A file of the corpus."""

import io
import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np

Kind = Literal["image", "audio", "video"]


@dataclass(frozen=True)
class Sample:
    """A file that claims to be of `kind`; `readable` says whether it has to be taken, None leaves it open."""

    name: str
    kind: Kind
    data: bytes
    readable: bool | None = True

    def __repr__(self) -> str:
        return self.name


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def tone(seconds: float, rate: int = 48_000, hertz: float = 440) -> np.ndarray:
    """int16 [1, n]."""
    return (10_000 * np.sin(np.arange(int(seconds * rate)) / rate * 2 * np.pi * hertz)).astype(np.int16)[None]


def recording(container: str, codec: str, seconds: float = 1, *, rate: int = 48_000, start: float = 0) -> bytes:
    """A tone of `seconds`; its time stamps begin at `start`."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="mono")
        sound, size = tone(seconds, rate), stream.codec_context.frame_size or 4096
        for at in range(0, sound.shape[1], size):
            frame = av.AudioFrame.from_ndarray(sound[:, at : at + size], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, int(start * rate) + at, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def film(container: str = "mp4", codec: str = "mpeg4", frames: int = 10, side: int = 32, rate: int = 25) -> bytes:
    """Black pictures, `rate` of them a second."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate)
        stream.width, stream.height = side, side
        stream.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for _ in range(frames):
            picture = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return file.getvalue()
