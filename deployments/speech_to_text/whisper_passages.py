"""Passages of a recording, which Whisper reads in sequence: the windows it is given, and what it has heard in them."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ..speech_stretches import speech
from .whisper_text import Reading, Said

if TYPE_CHECKING:
    import numpy as np

Piece = tuple[int, int]  # of speech: first and last sample

RATE = 16_000  # Hz, of every Whisper
WINDOW_S = 30  # that a Whisper hears at once
PASSAGE_S = (60, 120)  # between which a passage ends, at the longest pause
PAUSE_MS = 160  # shorter ones are speech
AROUND = RATE * 2 // 5  # samples of the pauses that belong to the speech before and after
LONGEST_PAUSE = 5 * RATE  # within a window: after longer ones Whisper often hears nothing more
PROGRESS = RATE  # that a reading makes at least, or what it leaves is left out
OVERHEARD = RATE * 3 // 2  # of speech, of which half may be quiet, that Whisper may leave out without being asked
TAIL = RATE * 3 // 10  # of speech; shorter ones hold no word


def spoken(samples: "np.ndarray", longest: int) -> list["Passage"]:
    """The passages of a recording, whose pieces of speech have at most `longest` samples."""
    found = speech(samples, RATE, (longest - 2 * AROUND) / RATE, PAUSE_MS, around_ms=0)
    return [Passage(part, longest) for part in parts(found, len(samples))]


def parts(found: Sequence[Piece], length: int) -> Iterator[list[Piece]]:
    """Pieces of speech, cut into passages where the pauses are longest, and each with a part of the pauses around it:
    what is said on both sides of a cut loses its context."""
    least, most = (RATE * seconds for seconds in PASSAGE_S)
    around, left = _with_pauses(found, length), list(found)
    while left:
        begin, end = left[0][0], len(left)
        if left[-1][1] - begin > most:
            ends = [at for at in range(1, len(left)) if left[at - 1][1] - begin >= least]
            near = [at for at in ends if left[at - 1][1] - begin <= most]
            end = max(near, key=lambda at: left[at][0] - left[at - 1][1]) if near else min(ends, default=end)
        yield around[:end]
        left, around = left[end:], around[end:]


def _with_pauses(found: Sequence[Piece], length: int) -> list[Piece]:
    if not found:
        return []
    halves = [(start - end) // 2 for (_, end), (start, _) in pairwise(found)]
    before, after = [found[0][0], *halves], [*halves, length - found[-1][1]]
    return [
        (start - min(AROUND, quiet), end + min(AROUND, silent))
        for (start, end), quiet, silent in zip(found, before, after, strict=True)
    ]


def next_window(found: Sequence[Piece], at: int, longest: int) -> Piece | None:
    """From the first speech after sample `at` on; None if there is no word more.

    A whole window may end within a word, since Whisper then asks to go on before it, and hears best what has the most
    context. In shorter ones it seldom asks, so they end at the last pause that fits.
    """
    ahead = [(max(start, at), end) for start, end in found if end > at]
    if sum(end - start for start, end in ahead) < TAIL:
        return None
    first, last = ahead[0]
    for start, end in ahead[1:]:
        reach = start if longest == WINDOW_S * RATE else end
        if reach - first > longest or start - last > LONGEST_PAUSE:
            break
        last = end
    return first, min(last, first + longest)


@dataclass(frozen=True)
class Heard:
    """A segment of a recording, its times from the recording's beginning, and the reading that it is of."""

    said: Said
    reading: Reading


class Passage:
    """Pieces of speech that are read in sequence: Whisper goes on where it found the end of a sentence.

    `window`, of at most `longest` samples, is to be read next, None when all has been; `heard` is what nobody has taken
    yet.
    """

    def __init__(self, found: Sequence[Piece], longest: int) -> None:
        self.speech = found
        self.window = next_window(found, 0, longest)
        self.heard = deque[Heard]()
        self._longest = longest
        self._looped = False

    def take(self, reading: Reading) -> None:
        """What has been read of the window."""
        if self.window is None:
            return
        first, last = self.window
        end = first + int(reading.end * RATE)
        unheard = sum(max(0, min(stop, last) - max(start, end)) for start, stop in self.speech)
        # Whisper asks for more, or ends long before the speech does; after a loop it is given one more try.
        more = not self._looped if reading.looped else reading.resume is not None or unheard > OVERHEARD
        on = end if more and end - first >= PROGRESS else last
        if sum(max(0, stop - max(start, on)) for start, stop in self.speech) < TAIL:
            on = last
        said = [*reading.said, reading.unfinished] if on == last and reading.unfinished else reading.said
        self.heard.extend(Heard(self._placed(one, first, last), reading) for one in said)
        self._looped = reading.looped
        self.window = next_window(self.speech, on, self._longest)

    def _placed(self, said: Said, first: int, last: int) -> Said:
        """A segment of a window in the recording. It begins and ends with speech."""
        start, end = first / RATE + said.start, min(first / RATE + said.end, last / RATE)
        within = [(max(begin / RATE, start), min(stop / RATE, end)) for begin, stop in self.speech]
        if within := [(begin, stop) for begin, stop in within if stop > begin]:
            start, end = within[0][0], within[-1][1]
        words = [(first / RATE + begin, first / RATE + stop, text) for begin, stop, text in said.words]
        return replace(said, start=start, end=max(start, end), words=words)
