"""Text to speech by Coqui's XTTS: many languages, voices that came with it, and the voice of any recording."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from .. import audio
from ..backend import Backend, Needs, in_thread
from ..backend import Options as BackendOptions
from ..capabilities import AudioFormat, TextToSpeech, Voice
from ..engine import device_for, failure
from ..errors import InvalidInput, ModelUnavailable
from ..media import Audio
from ..progress import teller
from .arguments import checked
from .sentences import passages
from .speaking import in_pieces, whole
from .xtts_weights import Weights, load_weights

if TYPE_CHECKING:
    import numpy as np

REFERENCE_RATE = 22_050  # Hz at which the network listens to a recording
SHORTEST_REFERENCE = 1.0  # s; three and more are better
PAUSE_S = 0.2  # between passages
LEAST_READ = 0.5  # of the tokens of a text

# A network keeps the beginning of what it speaks in itself, and sampling draws from torch's generator of the whole
# process, so one passage is spoken at a time.
LOCK = threading.Lock()


class XTTS(Backend, TextToSpeech):
    """XTTS (Casanova et al. 2024, https://arxiv.org/abs/2406.04904) in coqui-tts, which the extra `xtts` installs.

    Every voice speaks every language of the weights: `voice` is a speaker's name, or `NAME@LANGUAGE`. `clone` speaks in
    the voice of a recording. The weights are a folder with `config.json`, `vocab.json`, `model.safetensors` and
    `speakers.safetensors`. Published ones (`coqui/XTTS-v2`; Coqui Public Model License: not for commercial use) are
    pickles, which are not loaded here; `python -m deployments.text_to_speech.xtts_weights FOLDER` converts a folder
    of them once. Chinese needs the package `pypinyin`, Japanese `cutlet`. Long texts are spoken in passages of whole
    sentences, some 15 s each, with a pause between them. The same text, voice and seed give the same speech. The speed
    is made by FFmpeg, which changes the tempo and keeps the pitch. 2 GB of memory; faster than speech on a GPU only.
    """

    class Options(BackendOptions):
        """Weights, where they run, and how they speak unless told."""

        weights: str = Field(description="Folder")
        voice: str | None = Field(None, description="Used when none is asked for; the first of the weights")
        language: str = Field("en", description="Of voices named without one, and of clones; BCP 47 tag")
        seed: int = Field(0, ge=0, lt=2**32, description="Of the rhythm and melody, which are drawn anew for each")
        temperature: float | None = Field(None, gt=0, le=2, description="How freely they are drawn; the weights' own")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=2)
    tells_progress: ClassVar[bool] = True

    def __init__(self) -> None:
        self._engine: Loaded | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load another network beside the old one, then change over.

        Raises:
            ModelUnavailable: coqui-tts is not installed; the weights are missing, damaged, pickled or no XTTS; they
                lack the voice or the language that the options name.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: load(options))

    async def synthesize(
        self, text: str, *, voice: str | None = None, speed: float | None = None, format: AudioFormat | None = None
    ) -> Audio:
        engine = self._ready()
        text, speed, written = checked(text, speed, format)
        say = partial(_say, engine, text, *engine.speaker(voice), speed, False)
        return await whole(say, engine.rate, written)

    def stream(
        self, text: str, *, voice: str | None = None, speed: float | None = None, format: AudioFormat | None = None
    ) -> AsyncIterator[Audio]:
        """About a second of speech at a time; passage by passage at another speed than 1. Pieces of one passage are
        joined by a short cross-fade, so the samples are not quite those of `synthesize`."""
        engine = self._ready()
        text, speed, written = checked(text, speed, format)
        say = partial(_say, engine, text, *engine.speaker(voice), speed, speed == 1)
        return in_pieces(say, engine.rate, written)

    async def clone(
        self,
        text: str,
        reference: Audio,
        *,
        language: str | None = None,
        speed: float | None = None,
        format: AudioFormat | None = None,
    ) -> Audio:
        """A recording of one second at least; three to ten of one speaker without other sounds are best."""
        engine = self._ready()
        text, speed, written = checked(text, speed, format)
        tag = engine.language(language or engine.options.language, "language")

        speaker = await in_thread(lambda cancelled: _heard(engine, reference))
        return await whole(partial(_say, engine, text, speaker, tag, speed, False), engine.rate, written)

    async def voices(self) -> list[Voice]:
        """Each speaker in the usual language, then each in the others."""
        engine = self._ready()
        usual = engine.language(engine.options.language, "language")
        plain = [Voice(name=name, language=usual) for name in engine.weights.speakers]
        others = [tag for tag in engine.weights.languages if tag != usual]
        return plain + [Voice(name=f"{one.name}@{tag}", language=tag) for tag in others for one in plain]

    def _ready(self) -> "Loaded":
        if self._engine is None:
            raise ModelUnavailable("XTTS is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class Speaker:
    """How somebody sounds, as the network has it: tensors [1, n, width] for how they speak, [1, d, 1] for the voice."""

    manner: Any
    voice: Any


@dataclass(frozen=True)
class Loaded:
    """A network ready to speak. Its calls hold `LOCK` while they use it."""

    weights: Weights
    options: XTTS.Options
    device: str

    @property
    def rate(self) -> int:
        """Of what it speaks, Hz."""
        return int(self.weights.network.hifigan_decoder.output_sample_rate)

    def language(self, tag: str, field: str) -> str:
        """The weights' tag of a language: `de` for `de-AT`, `zh-cn` for `zh`.

        Raises:
            InvalidInput: they do not speak it; names `field`.
        """
        tags = {tag.lower(): tag for tag in self.weights.languages}
        primary = tag.lower().split("-")[0]
        by_primary = {tag.split("-")[0]: said for tag, said in tags.items()}
        tag_of_weights = tags.get(tag.lower()) or by_primary.get(primary)
        if tag_of_weights is None:
            raise InvalidInput(field, f"is {tag[:40]!r}; the languages are {', '.join(self.weights.languages)}")
        return tag_of_weights

    def speaker(self, voice: str | None) -> tuple[Speaker, str]:
        """Who speaks, and in which language.

        Raises:
            InvalidInput: there is no such voice; names `voice`.
        """
        voice = self.options.voice or next(iter(self.weights.speakers)) if voice is None else voice
        name, _, language = voice.partition("@")
        if name not in self.weights.speakers:
            known = list(self.weights.speakers)
            some = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
            raise InvalidInput("voice", f"is {voice[:80]!r}; one of {some}, or NAME@LANGUAGE")
        return Speaker(*self.weights.speakers[name]), self.language(language or self.options.language, "voice")


def _heard(engine: Loaded, reference: Audio) -> Speaker:
    """How the speaker of a recording sounds.

    Raises:
        InvalidInput: it cannot be decoded, is shorter than a second, or silent; names `reference`.
    """
    import torch

    try:
        samples = audio.decode(reference, REFERENCE_RATE)
    except InvalidInput as error:
        raise InvalidInput("reference", error.detail) from None
    if len(samples) < SHORTEST_REFERENCE * REFERENCE_RATE:
        raise InvalidInput("reference", f"is {len(samples) / REFERENCE_RATE:.1f} s long; one second at least is needed")
    if not samples.any():
        raise InvalidInput("reference", "is silent")
    network = engine.weights.network
    config = network.config
    wave = torch.from_numpy(samples)[None, : int(config.max_ref_len * REFERENCE_RATE)].to(engine.device)
    length = {"length": config.gpt_cond_len, "chunk_length": config.gpt_cond_chunk_len}
    try:
        return Speaker(
            network.get_gpt_cond_latents(wave, REFERENCE_RATE, **length),
            network.get_speaker_embedding(wave, REFERENCE_RATE),
        )
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "XTTS failed") from None


def _say(
    engine: Loaded,
    text: str,
    speaker: Speaker,
    language: str,
    speed: float,
    at_once: bool,
    give: Callable[["np.ndarray"], None],
    cancelled: threading.Event,
) -> None:
    """Give float32 samples, shape (n,), within -1 to 1, passage by passage, or `at_once` what there is of one.

    Raises:
        InvalidInput: most of the text cannot be read in this language; names `text`.
        CancelledError: `cancelled` was set.
    """
    import numpy as np

    tell, divided = teller(), _readable(engine, text, language)
    for number, passage in enumerate(divided):
        if number:
            give(np.zeros(round(PAUSE_S * engine.rate / speed), np.float32))
        tell(number / len(divided))
        try:
            for samples in _passage(engine, passage, speaker, language, at_once, cancelled):
                give(audio.at_tempo(samples, engine.rate, speed) if speed != 1 else samples)
        except (RuntimeError, MemoryError) as error:
            raise failure(error, "XTTS failed") from None


def _readable(engine: Loaded, text: str, language: str) -> list[str]:
    """Passages that the network has room for.

    Raises:
        InvalidInput: it knows less than half of what is in them; names `text`.
    """
    network = engine.weights.network
    text = text.translate({ord("["): "(", ord("]"): ")"})  # in brackets XTTS's vocabulary has its commands
    limits = network.tokenizer.char_limits
    longest = limits.get(language.split("-")[0], min(limits.values()))
    unknown = network.tokenizer.tokenizer.token_to_id("[UNK]")
    readable: list[str] = []
    left, tokens = passages(text, longest), list[int]()
    while left:
        passage = left.pop(0)
        read = _tokens(network, passage, language)
        if len(read) >= network.args.gpt_max_text_tokens and len(passage) > 1:  # numbers and signs become words
            left = [*passages(passage, len(passage) // 2), *left]
            continue
        tokens += read[1:]  # the first is the language
        readable.append(passage)
    if tokens.count(unknown) > LEAST_READ * len(tokens) or not tokens:
        raise InvalidInput("text", f"has little that can be read in {language}")
    return readable


def _tokens(network: Any, passage: str, language: str) -> list[int]:
    try:
        return network.tokenizer.encode(passage.lower(), lang=language)
    except Exception as error:  # of the libraries that write numbers as words and other scripts in Latin letters
        raise InvalidInput("text", f"cannot be read in {language}: {error}") from None


def _passage(
    engine: Loaded, passage: str, speaker: Speaker, language: str, at_once: bool, cancelled: threading.Event
) -> "Iterator[np.ndarray]":
    """float32 samples, shape (n,), within -1 to 1: in pieces of about a second as they are made, or all together."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Cancelled(StoppingCriteria):
        """Ends the writing of sounds, each of some 46 ms of speech."""

        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            return torch.full((len(input_ids),), cancelled.is_set(), device=input_ids.device)

    network, config, options = engine.weights.network, engine.weights.network.config, engine.options
    while not LOCK.acquire(timeout=0.1):
        if cancelled.is_set():
            raise CancelledError
    try:
        if cancelled.is_set():
            raise CancelledError
        on = [torch.cuda.current_device()] if engine.device == "cuda" else []
        with torch.random.fork_rng(devices=on):
            torch.manual_seed(options.seed)
            how = {
                "temperature": options.temperature or config.temperature,
                "length_penalty": config.length_penalty,
                "repetition_penalty": config.repetition_penalty,
                "top_k": config.top_k,
                "top_p": config.top_p,
                "stopping_criteria": StoppingCriteriaList([Cancelled()]),
            }
            spoken = passage, language, speaker.manner, speaker.voice
            if at_once:
                made = (piece.float().cpu().numpy() for piece in network.inference_stream(*spoken, **how))
            else:
                made = iter([network.inference(*spoken, **how)["wav"]])
            for samples in made:
                if cancelled.is_set():
                    raise CancelledError
                yield samples.reshape(-1).clip(-1, 1)
    finally:
        LOCK.release()


def load(options: XTTS.Options) -> Loaded:
    """A network loaded from weights, and where it runs.

    Raises:
        ModelUnavailable: as `XTTS.reconfigure`.
    """
    weights = load_weights(options.weights)
    device = device_for(options.device, options.threads)
    try:
        weights.network.to(device)
    except (RuntimeError, MemoryError) as error:
        raise failure(error, f"{options.weights} cannot be loaded") from None
    engine = Loaded(weights, options, device)
    try:
        engine.language(options.language, "language")
        engine.speaker(None)
    except InvalidInput as error:
        raise ModelUnavailable(f"{options.weights}: the option {error.field} {error.detail}") from None
    return engine
