"""Samples as a network or synthesizer makes them, as a recording: whole, or in pieces as they come."""

import threading
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from .. import audio
from ..backend import in_thread, out_of_thread
from ..capabilities import AudioFormat
from ..errors import InvalidInput
from ..media import Audio
from .sentences import pieces

if TYPE_CHECKING:
    import numpy as np

NOTHING = "has nothing in it that can be spoken"
PIECE_S = 0.5  # of speech, the least that leaves by itself

# Gives samples, shape (n,), float32 within -1 to 1 or int16, one piece after another, and raises `CancelledError` soon
# after the event was set.
Say = Callable[[Callable[["np.ndarray"], None], threading.Event], None]


SLOWEST, FASTEST = 0.5, 2.0  # that networks speak well; beyond, their sound is stretched


def by_sentences(
    spoken: Callable[[str, float, threading.Event], "np.ndarray"], text: str, speed: float, rate: int, longest: int
) -> Say:
    """What says a text sentence by sentence.

    Args:
        spoken: the samples of a sentence at a speed from 0.5 to 2, float32 (n,), none if nothing in it has a sound.
        speed: 0.25 to 4.
        rate: of the samples, in Hz.
        longest: characters of a piece that is spoken at once.
    """
    paced = min(max(speed, SLOWEST), FASTEST)

    def say(give: Callable[["np.ndarray"], None], cancelled: threading.Event) -> None:
        for sentence in pieces(text, longest):
            samples = spoken(sentence, paced, cancelled)
            if len(samples):
                give(samples if speed == paced else audio.at_tempo(samples, rate, speed / paced))

    return say


async def whole(say: Say, rate: int, format: AudioFormat) -> Audio:
    """All that is said, at `rate` Hz, as one file."""
    import numpy as np

    def speak(cancelled: threading.Event) -> Audio:
        parts: list[np.ndarray] = []
        say(parts.append, cancelled)
        if not any(part.any() for part in parts):  # silence, too, is nothing said
            raise InvalidInput("text", NOTHING)
        return audio.encode(np.concatenate(parts), rate, format, cancelled)

    return await in_thread(speak)


def in_pieces(say: Say, rate: int, format: AudioFormat) -> AsyncGenerator[Audio]:
    """The same as it is said, in pieces whose bytes, one after another, are the file. Closing the iterator ends it."""

    def speak(give: Callable[[Audio], None], cancelled: threading.Event) -> None:
        file, kept, said = audio.Passing(), 0, False
        encoder = audio.Encoder(file, rate, format)

        def write(samples: "np.ndarray") -> None:
            nonlocal kept, said
            encoder.write(samples)
            said = said or bool(samples.any())
            kept += len(samples)
            if said and kept >= PIECE_S * rate and (data := file.taken()):
                give(Audio(data, encoder.media_type))
                kept = 0

        say(write, cancelled)
        if not said:
            raise InvalidInput("text", NOTHING)
        encoder.end()
        give(Audio(file.taken(), encoder.media_type))

    return out_of_thread(speak)
