"""What every client is tried with: a cell of the table is one of these checks with one client."""

import io
import math
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
SPEECH = ROOT / ".weights" / "recordings" / "moonshine" / "beckett.wav"  # "Ever tried. Ever failed. No matter. ..."
QUESTION = "What is the capital of France?"
WEATHER = "What is the weather in Paris?"
PERSON = "Ada is a woman of 36 years. Write who she is as JSON."
LONG = "word " * 30_000  # beyond the context of every model here

# The models of the service, by what they are for.
CHAT, READER, EMBEDDER, PAINTER, EARS, VOICE = (
    "smollm2",
    "picture-reader",
    "minilm",
    "starter-painter",
    "moonshine",
    "espeak",
)


@dataclass(frozen=True)
class Service:
    """A Medley: its address without a path, and a key."""

    url: str
    key: str

    @property
    def openai(self) -> str:
        """The base of OpenAI's routes."""
        return f"{self.url}/v1"


@dataclass(frozen=True)
class Call:
    """A call of a tool that a model has made."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """An error as the client gave it to its caller."""

    kind: str
    text: str


def refused(expected: type[Exception], call: Callable[[], object]) -> Refusal:
    """The error of a call that has to fail."""
    try:
        call()
    except expected as error:
        return Refusal(type(error).__name__, str(error))
    raise AssertionError("no error")


def picture() -> bytes:
    """A red PNG of 64 x 64 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\0\0" * 64) * 64
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _chat(text: str) -> None:
    assert "Paris" in text, text


def _stream(pieces: Sequence[str]) -> None:
    assert len(pieces) > 3, pieces
    assert "Paris" in "".join(pieces), pieces


def _tools_required(call: Call) -> None:
    assert call.name == "get_weather", call
    assert isinstance(call.arguments["city"], str), call


def _tools_auto(answer: str | Call) -> None:
    if isinstance(answer, Call):
        _tools_required(answer)
    else:
        assert answer.strip(), "no answer"


def _json_schema(person: dict[str, Any]) -> None:
    assert isinstance(person["name"], str) and isinstance(person["age"], int), person


def _picture_in(text: str) -> None:
    assert text.strip(), "no answer"


def _embeddings(vectors: Sequence[Sequence[float]]) -> None:
    assert [len(vector) for vector in vectors] == [384, 384], [len(vector) for vector in vectors]
    assert all(abs(math.hypot(*vector) - 1) < 0.01 for vector in vectors)


def _images(data: bytes) -> None:
    assert data.startswith((b"\x89PNG", b"\xff\xd8", b"RIFF")), data[:20]
    assert len(data) > 1000


def _speech_to_text(text: str) -> None:
    assert "ever tried" in text.lower() and "fail better" in text.lower(), text


def _text_to_speech(data: bytes) -> None:
    if data.startswith(b"RIFF"):
        with wave.open(io.BytesIO(data)) as sound:
            assert sound.getnframes() > sound.getframerate() / 4
    else:
        assert data.startswith((b"ID3", b"\xff\xfb", b"\xff\xf3")) and len(data) > 3000, data[:20]


def _errors(refusals: tuple[Refusal, Refusal]) -> None:
    """Of a model that does not exist, and of a wrong key."""
    model, key = refusals
    assert "nobody" in model.text, model
    assert "NotFound" in model.kind or "404" in model.kind + model.text, model
    assert "Authentication" in key.kind or "401" in key.text or "key" in key.text.lower(), key


def _context_overflow(refusal: Refusal) -> None:
    assert "context" in refusal.text.lower(), refusal


CELLS: dict[str, Callable[[Any], None]] = {
    "chat": _chat,
    "stream": _stream,
    "tools_required": _tools_required,
    "tools_auto": _tools_auto,
    "json_schema": _json_schema,
    "picture_in": _picture_in,
    "embeddings": _embeddings,
    "images": _images,
    "speech_to_text": _speech_to_text,
    "text_to_speech": _text_to_speech,
    "errors": _errors,
    "context_overflow": _context_overflow,
}
