"""Stretches of speech in a recording, found by Silero's voice activity, each short enough to be heard at once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SHORTEST_PAUSE_MS = 500
LEVEL = 0.5  # of full scale: recordings whose loudest sample is below are brought up to it
SILENCE = 1e-4  # of full scale: below, there is nothing to bring up


def stretches(samples: "np.ndarray", rate: int, longest_s: float) -> Iterator[tuple[int, int, "np.ndarray"]]:
    """First and last sample of each stretch of speech, and its sound. What fits into `longest_s` is one stretch, with
    the pauses in it: models hear words better in their context.

    Args:
        samples: float32 (n,), -1 to 1.
        rate: 16,000 Hz, which Silero takes.
        longest_s: seconds of a stretch; speech without a pause is cut there.
    """
    samples = brought_up(samples)
    first = last = 0
    for start, end in speech(samples, rate, longest_s):
        if last and end - first > longest_s * rate:
            yield first, last, samples[first:last]
            last = 0
        first, last = first if last else start, end
    if last:
        yield first, last, samples[first:last]


def brought_up(samples: "np.ndarray") -> "np.ndarray":
    """A quiet recording at the level of others: Silero does not hear one at a hundredth of full scale."""
    loudest = float(abs(samples).max(initial=0.0))
    return samples * (LEVEL / loudest) if SILENCE <= loudest < LEVEL else samples


def speech(
    samples: "np.ndarray", rate: int, longest_s: float, pause_ms: int = SHORTEST_PAUSE_MS, around_ms: int = 400
) -> list[tuple[int, int]]:
    """First and last sample of each piece of speech, by Silero (https://github.com/snakers4/silero-vad, in
    faster-whisper's package).

    Args:
        longest_s: seconds of a piece; where there is no pause it is cut.
        pause_ms: milliseconds; shorter pauses are speech.
        around_ms: milliseconds of the pauses that belong to the speech before and after.
    """
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    if float(abs(samples).max(initial=0.0)) < SILENCE:
        return []
    options = VadOptions(max_speech_duration_s=longest_s, min_silence_duration_ms=pause_ms, speech_pad_ms=around_ms)
    pieces = get_speech_timestamps(samples, options, sampling_rate=rate)
    return [(int(piece["start"]), int(piece["end"])) for piece in pieces]
