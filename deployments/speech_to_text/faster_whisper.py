"""Speech to text by faster-whisper: Whisper on CTranslate2, about a hundred languages, on a CPU or one GPU."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

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
from .together import Caller, Reader

if TYPE_CHECKING:
    import numpy as np

RATE = 16_000  # Hz, of every Whisper
NEEDED = "model.bin"  # CTranslate2's own format: numbers, no code
FILES = (NEEDED, "*.json", "*.txt")
# Languages (BCP 47) that Whisper knows by another tag: macrolanguages, and tags that have been replaced.
WHISPERS = {"nb": "no", "cmn": "zh", "fil": "tl", "jv": "jw", "iw": "he", "in": "id", "ji": "yi"}
TAGS = {"jw": "jv"}  # of Whisper's languages, where its own is no longer valid


class FasterWhisper(Backend, SpeechToText):
    """Whisper (Radford et al. 2022) by faster-whisper (https://github.com/SYSTRAN/faster-whisper) on CTranslate2.

    Takes a folder or a hub name in CTranslate2's format. A voice-activity filter (Silero, in the package) finds speech,
    and stretches of up to 30 s are read `batch` at a time, those of calls that wait together. Greedy unless `beam` says
    otherwise, and never sampled: the same recording gives the same transcript. The language is detected where it is not
    named; translation is into English, which is all Whisper was trained for.
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
        batch: int = Field(8, ge=1, le=64, description="Stretches of speech read at once")
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
        call = _call(engine, language, translate, word_times)
        with engine.reader.on_its_way() as came:
            return await in_thread(
                lambda cancelled: _transcribe(engine, audio, call, Caller(loop, cancelled, came)),
                engine.reader.threads,
            )

    async def stream(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> AsyncIterator[Transcript]:
        """Each stretch of up to `stretch_s` when it has been read. Closing the iterator stops it after the next."""
        engine, loop = self._ready(), asyncio.get_running_loop()
        call = _call(engine, language, translate, word_times)
        call |= {"batch_size": 1, "chunk_length": engine.options.stretch_s}

        def read(give: Callable[[Transcript], None], cancelled: threading.Event) -> None:
            heard = _Heard(engine, audio, call, Caller(loop, cancelled, came))
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


def _call(engine: _Engine, language: str | None, translate: bool, word_times: bool) -> dict[str, Any]:
    """Arguments of faster-whisper, by its own names.

    Raises:
        BeyondModel: the model does not understand the language.
    """
    tag = (language or "").replace("_", "-").split("-")[0].lower()
    chosen = WHISPERS.get(tag, tag) or None
    if chosen and chosen not in engine.languages:
        known = f"{len(engine.languages)} languages" if len(engine.languages) > 9 else ", ".join(engine.languages)
        raise BeyondModel("language", f"is {chosen[:40]!r}; this model understands {known}")
    task = "translate" if translate else "transcribe"
    return {"language": chosen, "task": task, "word_timestamps": word_times}


def _transcribe(engine: _Engine, recording: Audio, call: dict[str, Any], caller: Caller) -> Transcript:
    heard, tell, segments = _Heard(engine, recording, call, caller), teller(), list[Segment]()
    for segment in heard.segments:
        segments.append(segment)
        tell(min(1.0, segment.end / heard.seconds))
    return heard.transcript(segments)


class _Heard:
    """What is heard in a recording, as it is read: `segments` can be gone through once."""

    def __init__(self, engine: _Engine, recording: Audio, call: dict[str, Any], caller: Caller) -> None:
        samples = recordings.decode(recording, RATE)
        self.seconds = round(len(samples) / RATE, 3)
        self.segments = self._read(engine, samples, call, caller)
        self._language = "en" if call["task"] == "translate" else ""

    def transcript(self, segments: list[Segment]) -> Transcript:
        """A transcript of these segments. The language is known once the first has been read."""
        text = " ".join(segment.text for segment in segments)
        return Transcript(text=text, language=self._language, seconds=self.seconds, segments=segments)

    def _read(self, engine: _Engine, samples: "np.ndarray", call: dict[str, Any], caller: Caller) -> Iterator[Segment]:
        """The segments of a recording (float32 at `RATE`), read batch by batch as they are taken."""
        options = engine.options
        how = {"batch_size": options.batch, "beam_size": options.beam, "temperature": 0.0, "without_timestamps": False}
        try:
            heard, about = engine.reader.pipeline(caller).transcribe(samples, **{**how, **call})
            spoken: str = about.language
            self._language = self._language or TAGS.get(spoken, spoken)
            for segment in heard:
                if caller.cancelled.is_set():
                    raise CancelledError
                if text := segment.text.strip():
                    words = [
                        Word(start=self._at(word.start), end=self._at(word.end), text=word.word.strip())
                        for word in segment.words or ()
                    ]
                    yield Segment(
                        start=self._at(segment.start),
                        end=self._at(segment.end),
                        text=text,
                        words=words,
                        tokens=segment.tokens,
                        temperature=segment.temperature,
                        avg_logprob=segment.avg_logprob,
                        no_speech_prob=segment.no_speech_prob,
                    )
        except (RuntimeError, MemoryError) as error:
            raise failure(error, "faster-whisper failed") from None

    def _at(self, time: Any) -> float:
        return min(round(float(time), 2), self.seconds)  # Whisper counts in windows of 30 s, and may end beyond


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
        model = (_one_by_one() if device == "cpu" else faster_whisper.WhisperModel)(
            path,
            device=device,
            compute_type=precision,
            cpu_threads=options.threads,
            revision=options.revision,
            local_files_only=local,
        )
    except Exception as error:  # a folder can be wrong in more ways than CTranslate2 has errors for
        raise failure(error, f"{options.weights} cannot be loaded", options.revision) from None
    if device == "cuda":
        load_cublas()
    return _Engine(Reader(model, options.batch), tuple(model.supported_languages), options)


def _one_by_one() -> type[Any]:
    """A Whisper whose encoder takes the stretches of a batch one by one: a CPU needs a third more time for all at once,
    out of its caches. The decoder, which reads all its weights for every token, is what a batch is for."""
    import ctranslate2
    import faster_whisper
    import numpy as np

    class OneByOne(faster_whisper.WhisperModel):
        def encode(self, features: "np.ndarray") -> Any:
            if features.ndim == 2 or len(features) == 1:
                return super().encode(features)
            made = [np.asarray(super(OneByOne, self).encode(one)) for one in features]
            return ctranslate2.StorageView.from_array(np.concatenate(made))

    return OneByOne
