"""A recording as a Whisper hears it: passages beside each other, each read window by window."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import replace
from typing import TYPE_CHECKING

from ..speech_stretches import brought_up
from .together import LOOK_S, Caller, How, Reader
from .whisper_passages import RATE, WINDOW_S, Heard, Passage, spoken
from .whisper_text import Reading, Said

if TYPE_CHECKING:
    import numpy as np

ENOUGH_S = 10  # of sound, to know its language


class Listening:
    """What is heard in a recording, as it is read: `segments` can be gone through once.

    Args:
        samples: float32 (n,) at `RATE`.
        longest_s: of a window.
        at_once: passages that are read beside each other.
    """

    def __init__(
        self, reader: Reader, samples: "np.ndarray", how: How, caller: Caller, longest_s: float, at_once: int
    ) -> None:
        self.language = how.language  # Whisper's tag; None until the first segment, and where there is no speech
        self._reader, self._how, self._caller = reader, how, caller
        self._samples, self._longest, self._at_once = brought_up(samples), int(longest_s * RATE), at_once
        self.segments = self._heard()

    def _heard(self) -> Iterator[Heard]:
        found = spoken(self._samples, self._longest)
        left, open_, until = deque(found), deque[Passage](), 0.0
        reading = dict[Future[Reading], Passage]()
        if self.language is None and found:
            self._look_for_language(found)
        try:
            while left or open_:
                # Without a language the first speech is read alone, and the rest in what it is found to be.
                while left and len(open_) < (self._at_once if self.language else 1):
                    open_.append(left.popleft())
                for passage in open_:
                    if passage.window and passage not in reading.values():
                        first, last = passage.window
                        reading[self._begun(self._samples[first:last], self._how)] = passage
                self._arrived()
                for answer in self._done(reading):
                    passage, read = reading.pop(answer), answer.result()
                    if read.said or read.unfinished:  # noise has no language
                        self.language = self.language or read.language
                    passage.take(read)
                while open_:
                    while open_[0].heard:
                        heard = open_[0].heard.popleft()
                        said = after(heard.said, until)
                        until = said.end
                        yield replace(heard, said=said)
                    if open_[0].window:
                        break
                    open_.popleft()
        finally:
            for unread in reading:
                unread.cancel()

    def _look_for_language(self, found: Sequence[Passage]) -> None:
        """In the first half minute of speech, if the first window is short and there are others."""
        import numpy as np

        first, last = found[0].window or (0, 0)
        if last - first < ENOUGH_S * RATE and last < found[-1].speech[-1][1]:
            pieces = [self._samples[first:last] for passage in found for first, last in passage.speech]
            sound = np.concatenate(pieces)[: WINDOW_S * RATE]
            asked = self._begun(sound, replace(self._how, only_language=True))
            self._arrived()
            self.language = self._done([asked])[0].result().language

    def _begun(self, sound: "np.ndarray", how: How) -> Future[Reading]:
        how = replace(how, language=self.language)
        return asyncio.run_coroutine_threadsafe(self._reader.read(self._reader.sound(sound), how), self._caller.loop)

    def _arrived(self) -> None:
        """The call's sounds are there, as soon as what has been begun waits to be read."""
        loop = self._caller.loop
        loop.call_soon_threadsafe(loop.call_soon, self._caller.came)

    def _done(self, answers: Collection[Future[Reading]]) -> Sequence[Future[Reading]]:
        """Those that are ready, at least one if there is any.

        Raises:
            CancelledError: the caller has gone.
        """
        done = set[Future[Reading]]()
        while answers and not done:
            done = wait(answers, LOOK_S, FIRST_COMPLETED).done
            if self._caller.cancelled.is_set():
                raise CancelledError
        return list(done)


def after(said: Said, until: float) -> Said:
    """A segment whose times, and those of its words, rise from where the one before ends."""
    start, words = max(said.start, until), list[tuple[float, float, str]]()
    end = max(said.end, start)
    latest = start
    for first, last, text in said.words:
        first = min(max(first, latest), end)
        latest = min(max(last, first), end)
        words.append((first, latest, text))
    return replace(said, start=start, end=end, words=words)
