"""Voice activity by Silero's network on ONNX Runtime, which comes with faster-whisper's package."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from .. import audio as recordings
from ..backend import Backend, Needs, in_thread
from ..backend import Options as BackendOptions
from ..capabilities import VoiceActivity
from ..errors import ModelUnavailable
from ..media import Audio
from ..speech import SpokenStretch, SpokenTimes
from ..speech_stretches import brought_up, speech

if TYPE_CHECKING:
    import numpy as np

RATE = 16_000  # Hz
PART_S = 120  # seconds that are looked at without a look whether the caller has gone
LEAST_PAUSE_S = 0.1  # as long as a few of the network's windows of 32 ms


class Silero(Backend, VoiceActivity):
    """Silero's voice activity detector (https://github.com/snakers4/silero-vad, MIT), 1 MB, any language.

    It tells speech from everything else, music and noise among it, at about a thousandth of the recording's length. A
    quiet recording is brought up first. Times are of windows of 32 ms, with `around_ms` of the pauses before and after.
    It does not tell speakers apart.
    """

    class Options(BackendOptions):
        """How speech is told from pauses."""

        pause_ms: int = Field(500, ge=100, le=10_000, description="Shorter pauses are speech")
        around_ms: int = Field(100, ge=0, le=1000, description="Of a pause, that belong to the speech beside it")

    needs: ClassVar[Needs] = Needs(cpus=0.25, concurrency=4)

    def __init__(self) -> None:
        self._options: Silero.Options | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load the network with the first options; others hold from the next call on.

        Raises:
            ModelUnavailable: it is not installed.
        """
        if self._options is None:
            await in_thread(lambda cancelled: _load())
        self._options = options

    async def detect(self, audio: Audio) -> SpokenTimes:
        options = self._ready()
        return await in_thread(lambda cancelled: _detect(options, audio, cancelled))

    def _ready(self) -> Options:
        if self._options is None:
            raise ModelUnavailable("Silero is not loaded yet")
        return self._options


def _load() -> None:
    try:
        from faster_whisper.vad import get_vad_model

        get_vad_model()
    except Exception as error:  # ONNX Runtime has a class for each of its codes
        raise ModelUnavailable(f"Silero cannot be loaded: {str(error).splitlines()[0][:300]}") from None


def _detect(options: Silero.Options, recording: Audio, cancelled: threading.Event) -> SpokenTimes:
    samples = recordings.decode(recording, RATE)
    seconds = len(samples) / RATE
    found = list[tuple[float, float]]()
    for start, end in _parts(brought_up(samples), cancelled):
        start, end = max(0.0, start - options.around_ms / 1000), min(seconds, end + options.around_ms / 1000)
        if found and start - found[-1][1] < options.pause_ms / 1000 - 2 * options.around_ms / 1000:
            start = found.pop()[0]
        found.append((start, end))
    stretches = [SpokenStretch(start=round(start, 2), end=round(end, 2)) for start, end in found]
    return SpokenTimes(seconds=round(seconds, 3), stretches=stretches)


def _parts(samples: "np.ndarray", cancelled: threading.Event) -> Iterator[tuple[float, float]]:
    """Beginning and end of each piece of speech in seconds; one that lasts beyond a part comes as several.

    Raises:
        CancelledError: the event was set.
    """
    for first in range(0, len(samples), PART_S * RATE):
        if cancelled.is_set():
            raise CancelledError
        part = samples[first : first + PART_S * RATE]
        for start, end in speech(part, RATE, PART_S, pause_ms=round(LEAST_PAUSE_S * 1000), around_ms=0):
            yield (first + start) / RATE, (first + end) / RATE
