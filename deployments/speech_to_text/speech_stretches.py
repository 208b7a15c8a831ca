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

    Silero (https://github.com/snakers4/silero-vad, in faster-whisper's package) does not hear a recording at a
    hundredth of full scale, so a quiet one is brought up first, and so is the sound that is returned.

    Args:
        samples: float32 (n,), -1 to 1.
        rate: 16,000 Hz, which Silero takes.
        longest_s: seconds of a stretch; speech without a pause is cut there.
    """
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    loudest = float(abs(samples).max(initial=0.0))
    if loudest < SILENCE:
        return
    if loudest < LEVEL:
        samples = samples * (LEVEL / loudest)
    options = VadOptions(max_speech_duration_s=longest_s, min_silence_duration_ms=SHORTEST_PAUSE_MS)
    first = last = 0
    for speech in get_speech_timestamps(samples, options, sampling_rate=rate):
        if last and speech["end"] - first > longest_s * rate:
            yield first, last, samples[first:last]
            last = 0
        first, last = first if last else int(speech["start"]), int(speech["end"])
    if last:
        yield first, last, samples[first:last]
