"""What a Whisper says of up to 30 s of sound: its tokens cut into segments, and the checks that Whisper makes of them.

The checks are those of the paper's section 4.5 (Radford et al. 2022, https://arxiv.org/abs/2212.04356) but for its
remedy: where Whisper draws again at a higher temperature, a loop is cut here, so the same sound has the same text.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

STEP_S = 0.02  # between two time stamps
NO_SPEECH = 0.6  # from this probability on nobody speaks, if the text is unlikely too:
UNLIKELY = -1.0  # mean log probability of its tokens
LOOPING = 2.4  # times that a text becomes shorter when it is compressed
LOOP = re.compile(r"(.{2,}?)\1{2,}", re.DOTALL)  # the same three times or more, one after the other


@dataclass(frozen=True)
class Said:
    """A segment: seconds from the beginning of the sound, tokens with the time stamps, words as (start, end, text)."""

    start: float
    end: float
    tokens: Sequence[int]
    text: str
    words: Sequence[tuple[float, float, str]] = ()


@dataclass(frozen=True)
class Reading:
    """What was read of one sound.

    Whisper ends at the start of a sentence that it takes for unfinished, and is to be asked again from there on:
    `resume` seconds into the sound. What it wrote of that sentence is `unfinished`.
    """

    said: Sequence[Said] = ()
    resume: float | None = None
    unfinished: Said | None = None
    looped: bool = False
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    language: str = field(default="", compare=False)

    @property
    def parts(self) -> list[Said]:
        """All that was written, the unfinished sentence last."""
        return [*self.said, *([self.unfinished] if self.unfinished else [])]

    @property
    def end(self) -> float:
        """Seconds into the sound up to which it has been heard."""
        return self.resume if self.resume is not None else self.said[-1].end if self.said else 0.0


def silent(avg_logprob: float, no_speech_prob: float) -> bool:
    return no_speech_prob > NO_SPEECH and avg_logprob < UNLIKELY


def cut(tokens: Sequence[int], first_time: int, seconds: float, text_of: Callable[[Sequence[int]], str]) -> Reading:
    """The segments of a Whisper's tokens.

    Args:
        tokens: with time stamps.
        first_time: the token of 0.00 s; those of later times follow it.
        seconds: of the sound. Whisper counts in windows of 30 s, and may end beyond.
        text_of: a text of tokens, which leaves time stamps out.
    """

    def said(begin: int, end: int) -> Said:
        part = tokens[begin:end]
        times = [min((token - first_time) * STEP_S, seconds) for token in part if token >= first_time]
        start = times[0] if times and part[0] >= first_time else 0.0
        closed = len(times) > 1 and part[-1] >= first_time
        return Said(start, max(start, times[-1]) if closed else seconds, part, text_of(part).strip())

    ends = [at for at in range(1, len(tokens)) if tokens[at - 1] >= first_time and tokens[at] >= first_time]
    parts = [said(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]
    last = said(ends[-1], len(tokens)) if ends else said(0, len(tokens))
    if not ends or (len(tokens) > ends[-1] + 1 and tokens[-1] >= first_time):  # nothing is spoken after the last time
        return Reading(_spoken([*parts, last]))
    return Reading(_spoken(parts), resume=last.start, unfinished=last if last.text else None)


def _spoken(parts: Sequence[Said]) -> list[Said]:
    return [part for part in parts if part.text]


def without_loop(reading: Reading, text_of: Callable[[Sequence[int]], str]) -> Reading:
    """Without the repetitions of what Whisper says over and over: of each loop the first time is left, and what comes
    after it has not been heard."""
    said = reading.parts
    text = " ".join(part.text for part in said)
    if not loops(text):
        return reading
    kept = list[Said]()
    for at, part in enumerate(said):
        if (found := LOOP.search(part.text)) and loops(part.text):
            kept.append(_first_time(part, found.end(1), text_of))
            break
        kept.append(part)
        if [other.text for other in said[at : at + 3]] == [part.text] * 3:
            break
    else:
        return reading  # poetry, which only rhymes
    return replace(reading, said=kept, resume=None, unfinished=None, looped=True)


def loops(text: str) -> bool:
    data = text.encode()
    return bool(data) and len(data) / len(zlib.compress(data)) > LOOPING


def _first_time(part: Said, length: int, text_of: Callable[[Sequence[int]], str]) -> Said:
    """The first `length` characters of a segment."""
    many = next(
        (count for count in range(1, len(part.tokens)) if len(text_of(part.tokens[:count]).strip()) >= length),
        len(part.tokens),
    )
    return replace(part, tokens=part.tokens[:many], text=text_of(part.tokens[:many]).strip())
