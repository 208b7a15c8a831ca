"""Arguments of a call to a voice, checked alike for every backend."""

import math
import re
import unicodedata

from .. import audio
from ..capabilities import AudioFormat
from ..errors import InvalidInput

LONGEST_TEXT = 4096  # characters, as OpenAI's endpoint
LINE_BREAK = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
BYTE_ORDER_MARK = "\ufeff"


def checked(text: str, speed: float | None, format: AudioFormat | None) -> tuple[str, float, AudioFormat]:
    """The text to speak, the speed (1 without one) and the format (WAV without one).

    Raises:
        InvalidInput: one of them cannot be used; names it.
    """
    text = speakable(text)
    if not any(c.isprintable() and c != " " for c in text):
        raise InvalidInput("text", "is empty")
    if len(text) > LONGEST_TEXT:
        raise InvalidInput("text", f"has {len(text):,} characters; at most {LONGEST_TEXT:,} are spoken at once")
    speed = 1.0 if speed is None else speed
    if not (math.isfinite(speed) and 0.25 <= speed <= 4):
        raise InvalidInput("speed", f"is {speed}; it goes from 0.25 to 4")
    if format is not None and format != "pcm" and format not in audio.FORMATS:
        raise InvalidInput("format", f"is {format!r}; one of {', '.join((*audio.FORMATS, 'pcm'))} is written")
    return text, speed, format or "wav"


def speakable(text: str) -> str:
    """The text without control characters: to eSpeak NUL is the end and \\x01 a command.

    Line breaks stay, for they are pauses, and so do characters that shape words without being seen: a soft hyphen in
    German, a joiner in Persian and Hindi. Other characters that cannot be printed become blanks.
    """
    text = LINE_BREAK.sub("\n", text.replace(BYTE_ORDER_MARK, ""))
    return "".join(c if c == "\n" or c.isprintable() or unicodedata.category(c) == "Cf" else " " for c in text).strip()
