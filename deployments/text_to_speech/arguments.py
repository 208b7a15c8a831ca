"""Arguments of a call to a voice, checked alike for every backend."""

import math

from .. import audio
from ..capabilities import AudioFormat
from ..errors import InvalidInput

LONGEST_TEXT = 4096  # characters, as OpenAI's endpoint


def checked(text: str, speed: float | None, format: AudioFormat | None) -> tuple[str, float, AudioFormat]:
    """The text to speak, the speed (1 without one) and the format (WAV without one).

    Raises:
        InvalidInput: one of them cannot be used; names it.
    """
    text = "".join(c if c.isprintable() else " " for c in text).strip()  # to eSpeak NUL is the end, \x01 a command
    if not text:
        raise InvalidInput("text", "is empty")
    if len(text) > LONGEST_TEXT:
        raise InvalidInput("text", f"has {len(text):,} characters; at most {LONGEST_TEXT:,} are spoken at once")
    speed = 1.0 if speed is None else speed
    if not (math.isfinite(speed) and 0.25 <= speed <= 4):
        raise InvalidInput("speed", f"is {speed}; it goes from 0.25 to 4")
    if format is not None and format != "pcm" and format not in audio.FORMATS:
        raise InvalidInput("format", f"is {format!r}; one of {', '.join((*audio.FORMATS, 'pcm'))} is written")
    return text, speed, format or "wav"
