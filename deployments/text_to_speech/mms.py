"""Text to speech by MMS (VITS) in transformers: a network for each of over a thousand languages."""

import threading
import unicodedata
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from .. import audio
from ..backend import Backend, Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import AudioFormat, TextToSpeech, Voice
from ..engine import device_for, failure, is_local
from ..errors import InvalidInput, ModelUnavailable
from ..media import Audio
from ..progress import teller
from .arguments import checked
from .sentences import pieces
from .speaking import Say, in_pieces, whole

if TYPE_CHECKING:
    import numpy as np

LONGEST_PIECE = 200  # characters spoken at once: some 15 s of speech
PAUSE_S = 0.2  # between pieces
LEAST_SPOKEN = 0.5  # of the letters and digits of a text

# VITS draws its noise from torch's generator of the whole process, so a seed holds only as long as nobody else draws.
LOCK = threading.Lock()


class LocalVoice(BackendOptions):
    """A voice and the weights that speak with it."""

    name: str = Field(min_length=1, max_length=80)
    language: str = Field(pattern=r"^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8})*$", description="BCP 47 tag")
    weights: str = Field(description="Folder or hub name")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")


class MMS(Backend, TextToSpeech):
    """MMS text to speech (Pratap et al. 2023, https://arxiv.org/abs/2305.13516): VITS networks in safetensors.

    `facebook/mms-tts-eng`, `-deu`, ... are CC BY-NC 4.0: not for commercial use. Each has one language and one speaker,
    at 16 kHz; a voice takes 150 MB of memory. They read letters: what a voice has no letter for (digits mostly, other
    scripts) is left out, and a text of which less than half is left is refused. Languages that are romanised first
    (Korean, for one) need the package `uroman`. Long texts are spoken sentence by sentence. The same text and seed give
    the same speech. The speed is made by FFmpeg, which changes the tempo and keeps the pitch. On one core two to
    three times as fast as speech; one text is spoken at a time in a process.
    """

    class Options(BackendOptions):
        """Which voices there are, the first being used when none is asked for, and where they run."""

        voices: list[LocalVoice] = Field(min_length=1, max_length=100)
        seed: int = Field(0, ge=0, lt=2**32, description="Of the rhythm and melody, which are drawn anew for each")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")

        @field_validator("voices")
        @classmethod
        def _differ(cls, voices: list[LocalVoice]) -> list[LocalVoice]:
            if len({voice.name for voice in voices}) < len(voices):
                raise ValueError("two voices have the same name")
            return voices

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=2)
    tells_progress: ClassVar[bool] = True

    def __init__(self) -> None:
        self._engine: Loaded | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other voices beside the old ones, then change over.

        Raises:
            ModelUnavailable: weights are missing, damaged, pickled or no VITS that reads letters.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: load(options, cancelled))

    async def synthesize(
        self, text: str, *, voice: str | None = None, speed: float | None = None, format: AudioFormat | None = None
    ) -> Audio:
        return await whole(*self._speech(text, voice, speed, format))

    def stream(
        self, text: str, *, voice: str | None = None, speed: float | None = None, format: AudioFormat | None = None
    ) -> AsyncIterator[Audio]:
        """Sentence by sentence."""
        return in_pieces(*self._speech(text, voice, speed, format))

    def _speech(
        self, text: str, voice: str | None, speed: float | None, format: AudioFormat | None
    ) -> tuple[Say, int, AudioFormat]:
        """What says the text, its samples' rate in Hz, and the format of the file."""
        engine = self._ready()
        text, speed, written = checked(text, speed, format)
        speaker = engine.speaker(voice)
        return partial(_say, engine, speaker, text, speed), speaker.rate, written

    async def voices(self) -> list[Voice]:
        """Those that the profile names."""
        voices = self._ready().options.voices
        return [Voice(name=one.name, language=one.language, description=one.weights) for one in voices]

    def _ready(self) -> "Loaded":
        if self._engine is None:
            raise ModelUnavailable("the voices are not loaded yet")
        return self._engine


@dataclass(frozen=True)
class Speaker:
    """A loaded voice."""

    name: str
    network: Any
    tokenizer: Any
    rate: int  # Hz

    def readable(self, text: str) -> str:
        """What the voice can read of `text`, as it reads it: without capitals and what it has no letter for."""
        text = unicodedata.normalize("NFC", text)
        if "'" in self.tokenizer.encoder and "’" not in self.tokenizer.encoder:
            text = text.replace("’", "'")
        return self.tokenizer.prepare_for_tokenization(text, normalize=True)[0]


@dataclass(frozen=True)
class Loaded:
    """Voices by name. Shared by calls, changed by none."""

    speakers: Mapping[str, Speaker]
    options: MMS.Options
    device: str

    def speaker(self, voice: str | None) -> Speaker:
        """The voice of this name, the first without one.

        Raises:
            InvalidInput: there is no such voice; names `voice`.
        """
        name = self.options.voices[0].name if voice is None else voice
        if name not in self.speakers:
            raise InvalidInput("voice", f"is {name[:80]!r}; one of {', '.join(self.speakers)}")
        return self.speakers[name]


def _say(
    engine: Loaded,
    speaker: Speaker,
    text: str,
    speed: float,
    give: Callable[["np.ndarray"], None],
    cancelled: threading.Event,
) -> None:
    """Give float32 samples, shape (n,), within -1 to 1, sentence by sentence.

    Raises:
        InvalidInput: the voice has no sound for most of the text; names `text`.
        CancelledError: `cancelled` was set; looked at before each piece.
    """
    import numpy as np

    read = [(piece, speaker.readable(piece)) for piece in pieces(text, LONGEST_PIECE)]
    letters, left = (sum(_letters(part) for part in parts) for parts in zip(*read, strict=True))
    if not left or left < LEAST_SPOKEN * letters:
        raise InvalidInput("text", f"has {letters} letters and digits; the voice {speaker.name} has sounds for {left}")
    pause = np.zeros(round(PAUSE_S * speaker.rate / speed), np.float32)
    tell, begun = teller(), False
    for number, (_, piece) in enumerate(read):
        if not _letters(piece):
            continue
        tell(number / len(read))
        try:
            samples = _piece(engine, speaker, piece, cancelled)
        except (RuntimeError, MemoryError) as error:
            raise failure(error, f"the voice {speaker.name} failed") from None
        if begun:
            give(pause)
        give(audio.at_tempo(samples, speaker.rate, speed) if speed != 1 else samples)
        begun = True


def _piece(engine: Loaded, speaker: Speaker, piece: str, cancelled: threading.Event) -> "np.ndarray":
    import torch

    while not LOCK.acquire(timeout=0.1):
        if cancelled.is_set():
            raise CancelledError
    try:
        if cancelled.is_set():
            raise CancelledError
        on = [torch.cuda.current_device()] if engine.device == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=on):
            torch.manual_seed(engine.options.seed)
            inputs = speaker.tokenizer(piece, normalize=False, return_tensors="pt").to(engine.device)
            return speaker.network(**inputs).waveform[0].float().clamp(-1, 1).cpu().numpy()
    finally:
        LOCK.release()


def _letters(text: str) -> int:
    """How many letters and digits of any script a text has."""
    return sum(unicodedata.category(character)[0] in "LN" for character in text)


def load(options: MMS.Options, cancelled: threading.Event) -> Loaded:
    """Voices loaded from their weights, and where they run.

    Raises:
        ModelUnavailable: weights are missing, damaged, pickled or no VITS that reads letters.
        CancelledError: `cancelled` was set; looked at before each voice.
    """
    device = device_for(options.device, options.threads)
    speakers: dict[str, Speaker] = {}
    for voice in options.voices:
        if cancelled.is_set():
            raise CancelledError
        speakers[voice.name] = _speaker(voice, device)
    return Loaded(speakers, options, device)


def _speaker(voice: LocalVoice, device: str) -> Speaker:
    import torch
    from transformers import VitsModel, VitsTokenizer
    from transformers.utils import logging

    path = weights_path(voice.weights)
    local = is_local(path, voice.weights)
    logging.disable_progress_bar()
    where: dict[str, Any] = {"revision": voice.revision or "main", "local_files_only": local}
    try:
        loaded: Any = VitsModel.from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **where
        )
        network, report = loaded  # what was there and what was not
        tokenizer: Any = VitsTokenizer.from_pretrained(path, **where)
        network = network.eval().requires_grad_(False).to(device)
    except Exception as error:  # a folder can be wrong in more ways than transformers has errors for
        raise failure(error, f"{voice.weights} cannot be loaded", voice.revision) from None
    missing = [name for name in report["missing_keys"] if not name.startswith("posterior_encoder.")]  # of training
    if missing:
        raise ModelUnavailable(f"{voice.weights} lacks {len(missing)} tensors of a VITS")
    if tokenizer.phonemize:
        raise ModelUnavailable(f"{voice.weights} reads phonemes; only networks that read letters, as MMS, are taken")
    if max(tokenizer.encoder.values()) >= network.config.vocab_size:
        raise ModelUnavailable(f"{voice.weights} has letters that its network has no weights for")
    return Speaker(voice.name, network, tokenizer, int(network.config.sampling_rate))
