"""Speech to text by faster-whisper: Whisper on CTranslate2, about a hundred languages, on a CPU or one GPU."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .. import audio as recordings
from ..backend import Backend, Needs, in_thread, out_of_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import Segment, SpeechToText, Transcript, Word
from ..engine import failure, is_local
from ..errors import BeyondModel, ModelUnavailable
from ..loads import Loads
from ..media import Audio
from ..progress import teller
from .cublas import load_cublas
from .together import Caller, How, Reader
from .whisper_hearing import Listening
from .whisper_passages import RATE, WINDOW_S, Heard

NEEDED = "model.bin"  # CTranslate2's own format: numbers, no code
FILES = (NEEDED, "*.json", "*.txt")
# Languages (BCP 47) that Whisper knows by another tag: macrolanguages, and tags that have been replaced.
WHISPERS = {"nb": "no", "cmn": "zh", "fil": "tl", "jv": "jw", "iw": "he", "in": "id", "ji": "yi"}
TAGS = {"jw": "jv"}  # of Whisper's languages, where its own is no longer valid
UNKNOWN = "und"  # BCP 47's language of what has none, such as silence


class FasterWhisper(Backend, SpeechToText):
    """Whisper (Radford et al. 2022) by faster-whisper (https://github.com/SYSTRAN/faster-whisper) on CTranslate2.

    Takes a folder or a hub name in CTranslate2's format. A voice-activity filter (Silero, in the package) finds speech,
    and passages of one to two minutes are read window by window, up to `batch` windows at a time, those of calls that
    wait together. Greedy unless `beam` says otherwise, and never sampled: the same recording gives the same transcript.
    The language is detected where it is not named; translation is into English, which is all Whisper was trained for.
    """

    class Options(BackendOptions):
        """Weights, where they run, how they are read."""

        weights: Annotated[str, Loads("revision", FILES)] = Field(
            description="Folder or hub name, such as Systran/faster-whisper-small"
        )
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        precision: Literal["auto", "float32", "float16", "int8", "int8_float16"] = Field(
            "auto", description="Of the computation; auto: int8 on a CPU, float16 on a GPU"
        )
        threads: int = Field(0, ge=0, le=256, description="Of one call on a CPU; 0: as many as there are cores")
        language: str | None = Field(
            None, description="BCP 47 tag of what is spoken where the caller names nothing; by default it is detected"
        )
        batch: int = Field(8, ge=1, le=64, description="Windows of speech, of up to 30 s, read at once")
        beam: int = Field(1, ge=1, le=20, description="Readings followed side by side; 1 takes the likeliest each time")
        stretch_s: int = Field(
            30, ge=5, le=30, description="Longest stretch of a stream; shorter ones come sooner, and have less to go by"
        )

    needs: ClassVar[Needs] = Needs(cpus=1, concurrency=8)
    tells_progress: ClassVar[bool] = True

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other weights beside the old ones, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged or of another format.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))

    async def transcribe(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> Transcript:
        engine, loop = self._ready(), asyncio.get_running_loop()
        how = _how(engine, language, translate, word_times)
        with engine.reader.on_its_way() as came:
            return await in_thread(
                lambda cancelled: _transcribe(engine, audio, how, Caller(loop, cancelled, came)),
                engine.reader.threads,
            )

    async def stream(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> AsyncIterator[Transcript]:
        """Each segment when its stretch of up to `stretch_s` has been read. Closing the iterator ends it there."""
        engine, loop = self._ready(), asyncio.get_running_loop()
        how = _how(engine, language, translate, word_times)

        def read(give: Callable[[Transcript], None], cancelled: threading.Event) -> None:
            heard = _Heard(engine, audio, how, Caller(loop, cancelled, came), engine.options.stretch_s, 1)
            segment = None
            for segment in heard.segments:
                give(heard.transcript([segment]))
            if segment is None:
                give(heard.transcript([]))

        with engine.reader.on_its_way() as came:
            async with aclosing(out_of_thread(read, engine.reader.threads)) as transcripts:
                async for transcript in transcripts:
                    yield transcript

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("faster-whisper is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class _Engine:
    """A loaded Whisper."""

    reader: Reader
    languages: tuple[str, ...]
    options: FasterWhisper.Options


def _how(engine: _Engine, language: str | None, translate: bool, word_times: bool) -> How:
    """How a recording is read.

    Raises:
        BeyondModel: the model does not understand the language.
    """
    chosen = _whispers(language) or _whispers(engine.options.language)
    if chosen and chosen not in engine.languages:
        raise BeyondModel("language", f"is {chosen[:40]!r}; {_known(engine.languages)}")
    return How(chosen, "translate" if translate else "transcribe", engine.options.beam, word_times)


def _whispers(language: str | None) -> str | None:
    """Whisper's own tag of a language (BCP 47)."""
    tag = (language or "").replace("_", "-").split("-")[0].lower()
    return WHISPERS.get(tag, tag) or None


def _known(languages: Sequence[str]) -> str:
    known = f"{len(languages)} languages" if len(languages) > 9 else ", ".join(languages)
    return f"this model understands {known}"


def _transcribe(engine: _Engine, recording: Audio, how: How, caller: Caller) -> Transcript:
    heard = _Heard(engine, recording, how, caller, WINDOW_S, engine.options.batch)
    tell, segments = teller(), list[Segment]()
    for segment in heard.segments:
        segments.append(segment)
        tell(min(1.0, segment.end / heard.seconds))
    return heard.transcript(segments)


class _Heard:
    """What is heard in a recording, as it is read: `segments` can be gone through once."""

    def __init__(
        self, engine: _Engine, recording: Audio, how: How, caller: Caller, longest_s: float, at_once: int
    ) -> None:
        samples = recordings.decode(recording, RATE)
        self.seconds = round(len(samples) / RATE, 3)
        self._how = how
        self._listening = Listening(engine.reader, samples, how, caller, longest_s, at_once)
        self.segments = (self._segment(heard) for heard in self._listening.segments)

    def transcript(self, segments: list[Segment]) -> Transcript:
        """A transcript of these segments. The language is known once the first has been read."""
        text = " ".join(segment.text for segment in segments)
        spoken = "en" if self._how.task == "translate" else self._listening.language or UNKNOWN
        return Transcript(text=text, language=TAGS.get(spoken, spoken), seconds=self.seconds, segments=segments)

    def _segment(self, heard: Heard) -> Segment:
        said = heard.said
        words = [Word(start=self._at(start), end=self._at(end), text=text) for start, end, text in said.words]
        return Segment(
            start=self._at(said.start),
            end=self._at(said.end),
            text=said.text,
            words=words,
            tokens=list(said.tokens),
            temperature=0.0,
            avg_logprob=heard.reading.avg_logprob,
            no_speech_prob=heard.reading.no_speech_prob,
        )

    def _at(self, time: float) -> float:
        return min(round(time, 2), self.seconds)


def _load(options: FasterWhisper.Options) -> _Engine:
    import ctranslate2
    import faster_whisper

    path = weights_path(options.weights)
    local = is_local(path, options.weights, NEEDED)
    device = options.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    precision = options.precision if options.precision != "auto" else "float16" if device == "cuda" else "int8"
    try:
        model = faster_whisper.WhisperModel(
            path,
            device=device,
            compute_type=precision,
            cpu_threads=options.threads,
            num_workers=2 if device == "cpu" else 1,  # the second for what nobody waits for any more
            revision=options.revision,
            local_files_only=local,
        )
    except Exception as error:  # a folder can be wrong in more ways than CTranslate2 has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    if device == "cuda":
        load_cublas()
    languages = tuple(model.supported_languages)
    if (spoken := _whispers(options.language)) and spoken not in languages:
        raise ModelUnavailable(f"the option language is {spoken[:40]!r}; {_known(languages)}")
    return _Engine(Reader(model, options.batch), languages, options)
