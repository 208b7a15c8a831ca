"""Text to speech by Piper's voices on ONNX Runtime: one small network each, much faster than speech on a CPU."""

import functools
import json
import threading
import unicodedata
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..backend import Backend, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import AudioFormat, TextToSpeech, Voice
from ..errors import InvalidInput, ModelUnavailable
from ..media import Audio
from ..onnx_session import run, session
from .arguments import checked
from .phonemes import phonemes
from .speaking import Say, by_sentences, in_pieces, whole

if TYPE_CHECKING:
    import numpy as np

BEGIN, END, BETWEEN = "^", "$", "_"  # Piper's symbols around and between phonemes
LONGEST_PIECE = 300  # characters
PAUSE_S = 0.2  # after a sentence


class PiperVoice(BaseModel):
    """A voice that callers can name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(min_length=1, max_length=80)
    weights: str = Field(description="Folder with one NAME.onnx and its NAME.onnx.json")
    speaker: str | None = Field(None, description="Of a network with several; by default its first")


class Piper(Backend, TextToSpeech):
    """Voices of Piper (https://github.com/OHF-Voice/piper1-gpl), VITS networks in ONNX, each of one language.

    Only the networks are used: eSpeak NG turns the text into phonemes, ONNX Runtime runs the network, and nothing of
    Piper's own package, which is GPL, is needed. **Each voice has a licence of its own; many forbid commercial use.** A
    network that reads letters and not phonemes is refused. Sentences are spoken one by one. Rhythm and melody are drawn
    anew for each. It cannot clone a voice.
    """

    class Options(BackendOptions):
        """The voices."""

        voices: list[PiperVoice] = Field(min_length=1, description="The first speaks where none is asked for")
        threads: int = Field(1, ge=1, le=64, description="Of one sentence")

        @field_validator("voices")
        @classmethod
        def _differ(cls, voices: list[PiperVoice]) -> list[PiperVoice]:
            if len({voice.name for voice in voices}) < len(voices):
                raise ValueError("two voices have the same name")
            return voices

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=2)

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other voices beside the old ones, then change over.

        Raises:
            ModelUnavailable: weights are missing, damaged or of another kind, or lack a speaker.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))

    async def synthesize(
        self, text: str, *, voice: str | None = None, speed: float | None = None, format: AudioFormat | None = None
    ) -> Audio:
        return await whole(*self._speech(text, voice, speed, format))

    def stream(
        self, text: str, *, voice: str | None = None, speed: float | None = None, format: AudioFormat | None = None
    ) -> AsyncIterator[Audio]:
        """Sentence by sentence. Closing the iterator stops within the sentence."""
        return in_pieces(*self._speech(text, voice, speed, format))

    async def voices(self) -> list[Voice]:
        """Those that the profile names."""
        speakers = self._ready().speakers
        return [Voice(name=name, language=one.language, description="Piper") for name, one in speakers.items()]

    def _speech(
        self, text: str, voice: str | None, speed: float | None, format: AudioFormat | None
    ) -> tuple[Say, int, AudioFormat]:
        """What says the text, its samples' rate in Hz, and the format of the file."""
        engine = self._ready()
        text, speed, written = checked(text, speed, format)
        speaker = engine.named(voice)
        return by_sentences(speaker.spoken, text, speed, speaker.rate, LONGEST_PIECE), speaker.rate, written

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("Piper is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class _Engine:
    """The voices by the names that callers use, the usual one first."""

    speakers: "Mapping[str, _Speaker]"

    def named(self, voice: str | None) -> "_Speaker":
        """The speaker of a name, the usual one without it.

        Raises:
            InvalidInput: there is none.
        """
        found = next(iter(self.speakers.values())) if voice is None else self.speakers.get(voice)
        if found is None:
            raise InvalidInput("voice", f"is {str(voice)[:80]!r}; there are: {', '.join(self.speakers)}")
        return found


@dataclass(frozen=True)
class _Speaker:
    """A loaded network, which many threads may run, and how it wants its phonemes."""

    network: Any
    rate: int  # Hz
    language: str  # eSpeak's voice
    symbols: Mapping[str, Sequence[int]]
    scales: tuple[float, float, float]  # of the noise, of the length, of the noise in the phonemes' lengths
    number: int | None  # of several speakers

    def spoken(self, sentence: str, speed: float, cancelled: threading.Event) -> "np.ndarray":
        """Samples of a sentence, float32 (n,), none if nothing in it has a sound.

        Raises:
            CancelledError: the caller has gone.
            ModelUnavailable: the network failed.
        """
        import numpy as np

        tokens = self._tokens(sentence, cancelled)
        if not tokens:
            return np.zeros(0, np.float32)
        noise, length, rhythm = self.scales
        feed = {
            "input": np.array([tokens]),
            "input_lengths": np.array([len(tokens)]),
            "scales": np.array([noise, length / speed, rhythm], np.float32),
        }
        if self.number is not None:
            feed["sid"] = np.array([self.number])
        samples = np.asarray(run(self.network, feed, cancelled), np.float32).reshape(-1)
        return np.append(samples.clip(-1, 1), np.zeros(int(PAUSE_S / speed * self.rate), np.float32))

    def _tokens(self, sentence: str, cancelled: threading.Event) -> list[int]:
        """The network's numbers of the phonemes, a blank after each; those that it does not know are left out."""
        said = unicodedata.normalize("NFD", phonemes(sentence, self.language, cancelled).strip())
        known = [symbol for symbol in said if symbol in self.symbols]
        if not any(symbol.isalpha() for symbol in known):
            return []
        blank = self.symbols[BETWEEN]
        between = [number for symbol in known for number in (*self.symbols[symbol], *blank)]
        return [*self.symbols[BEGIN], *blank, *between, *self.symbols[END]]


def _load(options: Piper.Options) -> _Engine:
    @functools.cache
    def network(file: Path) -> Any:
        """Speakers of a file share its network."""
        return session(file, options.threads)

    return _Engine({voice.name: _speaker(voice, network) for voice in options.voices})


def _speaker(voice: PiperVoice, network: Callable[[Path], Any]) -> _Speaker:
    folder = Path(weights_path(voice.weights))
    files = sorted(folder.glob("*.onnx"))
    if len(files) != 1 or not (described := files[0].with_name(f"{files[0].name}.json")).is_file():
        raise ModelUnavailable(f"{voice.weights} is no folder with one NAME.onnx and its NAME.onnx.json")
    try:
        said = json.loads(described.read_text())
        if said.get("phoneme_type", "espeak") != "espeak":
            raise ValueError(f"it reads {said['phoneme_type']}, and not eSpeak's phonemes")
        scales = {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8} | said.get("inference", {})
        speakers: dict[str, int] = said.get("speaker_id_map") or {}
        if voice.speaker is not None and voice.speaker not in speakers:
            raise ValueError(f"it has no speaker {voice.speaker!r}; there are: {', '.join(speakers) or 'none'}")
        return _Speaker(
            network=network(files[0]),
            rate=int(said["audio"]["sample_rate"]),
            language=said["espeak"]["voice"],
            symbols={BETWEEN: (0,), **said["phoneme_id_map"]},
            scales=(float(scales["noise_scale"]), float(scales["length_scale"]), float(scales["noise_w"])),
            number=speakers.get(voice.speaker or "", 0) if said.get("num_speakers", 1) > 1 else None,
        )
    except Exception as error:  # ONNX Runtime has a class for each of its codes
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0][:300]
        raise ModelUnavailable(f"{voice.weights} cannot be loaded: {reason}") from None
