"""Speech to text by Hugging Face Inference: any speech recognition model that the provider serves."""

import base64
import threading
from collections.abc import Iterator

from pydantic import BaseModel, Field

from .. import audio
from ..backend import in_thread
from ..capabilities import Segment, SpeechToText, Transcript, Word
from ..errors import InvalidInput
from ..hugging_face import HuggingFaceOptions, infer
from ..media import Audio
from ..remote_http import Blame, Remote

RATE = 16_000  # Hz, what recognition models hear
BLAME = Blame("audio", {"inputs": "audio", "return_timestamps": "word_times"})


class HuggingFaceSpeechToText(Remote, SpeechToText):
    """A speech recognition model of the hub at Hugging Face Inference, or at an Inference Endpoint of one's own.

    Recordings of up to an hour are sent as FLAC at 16 kHz. Its protocol has no word for the language: a model of
    several hears which one it is and does not say it. `languages` are those that callers may name, and the first is
    told when they name none. Segments have the model's own times, or the
    recording's where it gives none; words are timed as transformers' pipeline does it, where the model can.
    See https://huggingface.co/docs/inference-providers.
    """

    class Options(HuggingFaceOptions):
        """Which model, and what it understands."""

        model: str | None = Field("openai/whisper-large-v3", description="Hub name; null for an endpoint")
        languages: list[str] = Field(["en"], min_length=1, description="BCP 47 tags; the first where none is asked for")
        timestamps: bool = Field(True, description="Ask for times; some models refuse")

    async def transcribe(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> Transcript:
        """English is translated by leaving it as it is; another language is not."""
        async with self._connected() as connection:
            options = connection.options
            spoken = _language(options.languages, language)
            if translate and spoken.split("-")[0].lower() != "en":
                raise InvalidInput(
                    "translate", "is nothing this provider does; say language=en where English is spoken"
                )
            flac, seconds = await in_thread(lambda cancelled: _flac(audio, cancelled))
            times = "word" if word_times else options.timestamps or None
            inputs, read = base64.b64encode(flac).decode(), _Heard.model_validate_json
            heard = await infer(connection, options.model, inputs, {"return_timestamps": times}, read, BLAME)
        segments = _by_words(heard, seconds) if word_times else _segments(heard, seconds)
        text = " ".join(segment.text for segment in segments)
        return Transcript(text=text, language=spoken, seconds=seconds, segments=segments)


class _Chunk(BaseModel):
    text: str
    timestamp: tuple[float | None, float | None]  # Whisper leaves the end open where the recording ends within a word


class _Heard(BaseModel):
    text: str
    chunks: list[_Chunk] | None = None


def _language(languages: list[str], language: str | None) -> str:
    if language is None:
        return languages[0]
    tag = language.lower().replace("_", "-")
    for known in languages:
        if tag == known.lower() or tag.split("-")[0] == known.lower():
            return known
    raise InvalidInput("language", f"is {language[:40]!r}; this model understands {', '.join(languages)}")


def _flac(recording: Audio, cancelled: threading.Event) -> tuple[bytes, float]:
    """The recording as FLAC at `RATE`, and its length in seconds."""
    samples = audio.decode(recording, RATE, dtype="int16")
    return audio.encode(samples, RATE, "flac", cancelled).data, round(len(samples) / RATE, 3)


def _segments(heard: _Heard, seconds: float) -> list[Segment]:
    return [Segment(start=start, end=end, text=text) for start, end, text in _timed(heard, seconds)]


def _by_words(heard: _Heard, seconds: float) -> list[Segment]:
    """One segment with all the words; transformers, which answers, gives a chunk for each and no more."""
    words = [Word(start=start, end=end, text=text) for start, end, text in _timed(heard, seconds)]
    if not words:
        return []
    text = " ".join(word.text for word in words)
    return [Segment(start=words[0].start, end=words[-1].end, text=text, words=words)]


def _timed(heard: _Heard, seconds: float) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of each chunk that has one, within the recording."""
    for chunk in heard.chunks or [_Chunk(text=heard.text, timestamp=(0.0, seconds))]:
        if text := chunk.text.strip():
            start, end = (seconds if time is None else min(max(time, 0.0), seconds) for time in chunk.timestamp)
            yield round(min(start, end), 2), round(end, 2), text
