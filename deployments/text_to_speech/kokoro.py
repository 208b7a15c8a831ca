"""Text to speech by Kokoro on ONNX Runtime: a pleasant voice on a CPU, at about the speed of speech."""

import json
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ..backend import Backend, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import AudioFormat, TextToSpeech, Voice
from ..errors import InvalidInput, ModelUnavailable
from ..media import Audio
from ..onnx_session import folder_with, run, session
from .arguments import checked
from .phonemes import phonemes
from .speaking import Say, by_sentences, in_pieces, whole

if TYPE_CHECKING:
    import numpy as np

RATE = 24_000  # Hz
NETWORK, SYMBOLS = "model.onnx", "config.json"
MOST_TOKENS, STYLE = 510, 256  # of a voice's table: a row of style for each length
LONGEST_PIECE = 200  # characters: a shorter sentence sounds sooner
# The first letter of a voice is its language: eSpeak's voice for it.
LANGUAGES = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}
VOICE = re.compile(r"^([a-z])([fm])_[a-z0-9]+$")
# How Kokoro's makers write what eSpeak writes otherwise (https://github.com/hexgrad/misaki), longest first.
WRITTEN = {
    "aɪ": "I",
    "aʊ": "W",
    "eɪ": "A",
    "ɔɪ": "Y",
    "dʒ": "ʤ",
    "tʃ": "ʧ",
    "ɚ": "əɹ",
    "ɐ": "ə",
    "ʲ": "",
    "r": "ɹ",
    "x": "k",
    "ɬ": "l",
}
ENGLISH = {"en-us": {"oʊ": "O", "ɜː": "ɜ", "ɾ": "T", "ː": ""}, "en-gb": {"əʊ": "Q"}}
FEMALE, MALE = (
    ("alloy", "coral", "marin", "nova", "sage", "shimmer"),
    ("ash", "ballad", "cedar", "echo", "fable", "onyx", "verse"),
)


class Kokoro(Backend, TextToSpeech):
    """Kokoro (https://huggingface.co/hexgrad/Kokoro-82M, Apache-2.0), a network of 82 million weights, 24,000 Hz mono.

    Takes a folder with the network in ONNX and its table of symbols, and a folder of voices, each a table of 510 x 256
    float32. The first letter of a voice's name is its language (`a` US English, `b` British, `e` Spanish, `f` French,
    `h` Hindi, `i` Italian, `p` Brazilian Portuguese), the second `f` or `m`. OpenAI's names of voices stand for the
    first female or male one. eSpeak NG turns the text into phonemes; sentences are spoken one by one, so the first
    sounds long before the last. It cannot clone a voice. A sentence takes about as long as it sounds on one core.
    """

    class Options(BackendOptions):
        """Weights, voices, and what is spoken with when the caller does not say."""

        weights: str = Field(description=f"Folder with {NETWORK} and {SYMBOLS}")
        voices: str = Field("starter/voices", description="Folder with VOICE.bin, or `starter/voices`")
        voice: str | None = Field(None, description="Voice used when none is asked for; by default the first")
        threads: int = Field(2, ge=1, le=64, description="Of one sentence")

    needs: ClassVar[Needs] = Needs(cpus=1, concurrency=2)

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other weights beside the old ones, then change over.

        Raises:
            ModelUnavailable: the weights or voices are missing or damaged, or there is no such default voice.
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
        return [
            Voice(
                name=name, language=_language(name), description="Kokoro, " + ("female" if name[1] == "f" else "male")
            )
            for name in self._ready().voices
        ]

    def _speech(
        self, text: str, voice: str | None, speed: float | None, format: AudioFormat | None
    ) -> tuple[Say, int, AudioFormat]:
        """What says the text, its samples' rate in Hz, and the format of the file."""
        engine = self._ready()
        text, speed, written = checked(text, speed, format)
        name = engine.named(engine.voice if voice is None else voice)

        def spoken(sentence: str, speed: float, cancelled: threading.Event) -> "np.ndarray":
            return engine.spoken(sentence, name, speed, cancelled)

        return by_sentences(spoken, text, speed, RATE, LONGEST_PIECE), RATE, written

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("Kokoro is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class _Engine:
    """The loaded network, which many threads may run, its symbols and its voices."""

    network: Any
    symbols: dict[str, int]
    voices: "dict[str, np.ndarray]"  # (510, 256) each
    voice: str

    def named(self, voice: str) -> str:
        """The voice of a name, OpenAI's among them.

        Raises:
            InvalidInput: there is none.
        """
        kind = "f" if voice in FEMALE else "m" if voice in MALE else ""
        found = voice if voice in self.voices else next((name for name in self.voices if name[1] == kind), None)
        if found is None:
            raise InvalidInput("voice", f"is {voice[:80]!r}; there are: {', '.join(self.voices)}")
        return found

    def spoken(self, sentence: str, voice: str, speed: float, cancelled: threading.Event) -> "np.ndarray":
        """Samples of a sentence, float32 (n,), none if nothing in it has a sound.

        Raises:
            CancelledError: the caller has gone.
        """
        import numpy as np

        parts = [np.zeros(0, np.float32)]
        tokens = self.tokens(sentence, _language(voice), cancelled)
        for first in range(0, len(tokens), MOST_TOKENS - 1):
            part = tokens[first : first + MOST_TOKENS - 1]
            feed = {
                "tokens": np.array([[0, *part, 0]]),
                "style": self.voices[voice][len(part)][None],
                "speed": np.array([speed], np.float32),
            }
            samples = run(self.network, feed, cancelled)
            parts.append(np.asarray(samples, np.float32).reshape(-1).clip(-1, 1))
        return np.concatenate(parts)

    def tokens(self, sentence: str, language: str, cancelled: threading.Event) -> list[int]:
        """The network's symbols for a sentence."""
        said = phonemes(sentence, language, cancelled)
        for ours, theirs in {**WRITTEN, **ENGLISH.get(language, {})}.items():
            said = said.replace(ours, theirs)
        found = [self.symbols[symbol] for symbol in said.strip() if symbol in self.symbols]
        return found if any(symbol.isalpha() for symbol in said) else []


def _language(voice: str) -> str:
    return LANGUAGES[voice[0]]


def _load(options: Kokoro.Options) -> _Engine:
    import numpy as np

    folder, place = folder_with(options.weights, (NETWORK, SYMBOLS)), Path(weights_path(options.voices))
    try:
        network = session(folder / NETWORK, options.threads)
        symbols: dict[str, int] = json.loads((folder / SYMBOLS).read_text())["vocab"]
        voices = {
            file.stem: np.fromfile(file, np.float32).reshape(MOST_TOKENS, STYLE)
            for file in sorted(place.glob("*.bin"))
            if (match := VOICE.match(file.stem)) and match[1] in LANGUAGES
        }
    except Exception as error:  # ONNX Runtime has a class for each of its codes
        raise ModelUnavailable(f"{options.weights} cannot be loaded: {str(error).splitlines()[0][:300]}") from None
    if not voices:
        raise ModelUnavailable(f"{options.voices} has no voice, such as af_heart.bin")
    if options.voice is not None and options.voice not in voices:
        raise ModelUnavailable(f"there is no voice {options.voice!r}; there are: {', '.join(voices)}")
    return _Engine(network, symbols, voices, options.voice or next(iter(voices)))
