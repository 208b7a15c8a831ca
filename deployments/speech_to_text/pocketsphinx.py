"""Speech to text by PocketSphinx: US English on a CPU, with the models that come in its package."""

import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from .. import audio
from ..backend import Backend, Needs, in_thread, out_of_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import Segment, SpeechToText, Transcript, Word
from ..errors import BeyondModel, ModelUnavailable
from ..media import Audio
from .word_error import agreement

if TYPE_CHECKING:
    import numpy as np

RATE = 16_000  # Hz, of the acoustic model
LANGUAGE = "en-US"
FRAMES = 100  # a second
LONGEST_UTTERANCE = 8.0  # seconds decoded in one go: PocketSphinx holds Python's lock meanwhile, about 0.3 s per second
SCORE_SCALE = 1024  # PocketSphinx keeps logarithms of path scores divided by 2**10 (SENSCR_SHIFT)
DOMAIN_SURE = 2.1  # how sure of the domain one has to be, see `sureness`; chosen in starter/ears/measure.py
DOMAIN_GAUSSIANS = 8, 16  # of each sound, looked at in the domain's two readings; 4 is PocketSphinx's own
MARGIN = 0.25  # seconds of quiet kept around an utterance, for the first and the last sound
FLOOR = 40.0  # dB below an utterance's level: background quieter than that is filled with noise, see `with_floor`
QUIET = 5  # percent of an utterance's frames, the quietest, that are taken for its background


class PocketSphinx(Backend, SpeechToText):
    """PocketSphinx 5 (https://github.com/cmusphinx/pocketsphinx, Huggins-Daines et al. 2006), its US English models.

    Cuts the recording at pauses (its own endpointer) and decodes each stretch by itself, so segments have times. Takes
    about a third of the recording's length on one core, and 100 MB per decoder. Understands clear, close US English in
    its own vocabulary of 130,000 words, as lower-case words without punctuation; noise, accents, music and other
    languages are beyond it. Recordings without any background, of noise suppression or a synthesizer, get a little
    noise beneath them, without which it hears them badly: see `with_floor`.

    A `domain` is a narrow subject to hear well besides: a folder with `domain.lm` (n-grams) and `domain.dict` (the
    pronunciations of their words), such as `starter/ears`. Two small decoders with the same acoustic model read each
    stretch too, one looking more closely than the other. The words of the first are taken if its best path scores
    clearly above the general one's and the others hear much the same: see `sureness`. A domain costs two thirds more
    time and 20 MB per decoder.
    """

    class Options(BackendOptions):
        """Other models, how hard to search, how many calls at once."""

        language_model: str | None = Field(None, description="n-gram model file, ARPA or binary; its own by default")
        domain: str | None = Field(None, description="Folder of a subject to hear well besides, e.g. starter/ears")
        dictionary: str | None = Field(None, description="Pronunciation file; CMUdict by default")
        beam: float = Field(1e-48, gt=0, le=1e-10, description="Smaller searches more and takes longer")
        decoders: int = Field(2, ge=1, le=16, description="Recordings decoded at once; each takes about 100 MB")

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=2)

    def __init__(self) -> None:
        self._pool: _Pool | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load one decoder with other models; further ones are made when calls come at once.

        Raises:
            ModelUnavailable: a model file is missing or cannot be read.
        """
        self._pool = await in_thread(lambda cancelled: _Pool(options))

    async def transcribe(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> Transcript:
        """What it hears is English, so `translate` changes nothing."""
        pool = self._ready()
        _check_language(language)
        return await in_thread(lambda cancelled: Transcript.join(list(_stretches(pool, audio, word_times, cancelled))))

    async def stream(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> AsyncIterator[Transcript]:
        """Each utterance, of up to eight seconds, when it has been read. Closing the iterator stops after the next."""
        pool = self._ready()
        _check_language(language)

        def read(give: Callable[[Transcript], None], cancelled: threading.Event) -> None:
            for stretch in _stretches(pool, audio, word_times, cancelled):
                give(stretch)

        async with aclosing(out_of_thread(read)) as stretches:
            async for stretch in stretches:
                yield stretch

    def _ready(self) -> "_Pool":
        if self._pool is None:
            raise ModelUnavailable("PocketSphinx is not loaded yet")
        return self._pool


class _Pool:
    """Decoders of one configuration; each serves one recording at a time."""

    def __init__(self, options: PocketSphinx.Options) -> None:
        self._options = options
        self._slots = threading.Semaphore(options.decoders)
        self._idle: list[_Ears] = [self._new()]  # append and pop are atomic

    @contextmanager
    def ears(self, cancelled: threading.Event) -> Iterator["_Ears"]:
        while not self._slots.acquire(timeout=0.1):
            if cancelled.is_set():
                raise CancelledError
        try:
            ears = self._idle.pop() if self._idle else self._new()
            yield ears
            self._idle.append(ears)  # not after an error: a decoder may be in the middle of an utterance
        finally:
            self._slots.release()

    def _new(self) -> "_Ears":
        files = {"lm": self._options.language_model, "dict": self._options.dictionary}
        general = self._load({key: weights_path(path) for key, path in files.items() if path})
        if self._options.domain is None:
            return _Ears(general, None)
        folder = Path(weights_path(self._options.domain))
        files = {"lm": str(folder / "domain.lm"), "dict": str(folder / "domain.dict")}
        first, second = (self._load(files, topn=gaussians) for gaussians in DOMAIN_GAUSSIANS)
        return _Ears(general, (first, second))

    def _load(self, files: dict[str, str], **more: int) -> Any:
        import pocketsphinx

        try:
            return pocketsphinx.Decoder(samprate=RATE, beam=self._options.beam, loglevel="FATAL", **files, **more)
        except (RuntimeError, ValueError, MemoryError) as error:
            what = ", ".join(files.values()) or "its own models"
            raise ModelUnavailable(f"PocketSphinx cannot load {what}: {error}") from None


class _Ears(NamedTuple):
    """The decoders one recording is heard with. Not searches in one: a search added to a decoder goes through its
    whole dictionary, 4 s and 17 MB; a decoder of the domain's few words takes 0.05 s and 8 MB."""

    general: Any
    domain: tuple[Any, Any] | None


class _Spoken(NamedTuple):
    """A word and its first and last frame in its utterance."""

    text: str
    first: int
    last: int

    def moved(self, seconds: float) -> Word:
        """With the times of the recording, in which the utterance begins at `seconds`."""
        start, end = (round(seconds + frame / FRAMES, 2) for frame in (self.first, self.last))
        return Word(start=start, end=end, text=self.text)


class _Heard(NamedTuple):
    """The words of one utterance, and what their path scores: nats per frame, -inf where nothing was heard."""

    text: str
    score: float
    words: tuple[_Spoken, ...]


def _check_language(language: str | None) -> None:
    if language is not None and language.lower().replace("_", "-") not in ("en", "en-us"):
        raise BeyondModel("language", f"is {language[:40]!r}; this model understands {LANGUAGE} only")


def _stretches(pool: _Pool, recording: Audio, word_times: bool, cancelled: threading.Event) -> Iterator[Transcript]:
    """What each utterance of a recording says, as it is read; one transcript without segments if there is none."""
    samples = audio.decode(recording, RATE, dtype="int16")
    seconds, said = round(len(samples) / RATE, 3), False
    with pool.ears(cancelled) as ears:
        for start, end in _utterances(samples):
            if cancelled.is_set():
                raise CancelledError
            heard = _words(ears, with_floor(samples[start:end]))
            if heard.text:
                words = [word.moved(start / RATE) for word in heard.words] if word_times else []
                first, last = round(start / RATE, 2), round(end / RATE, 2)
                segment = Segment(start=first, end=last, text=heard.text, words=words)
                said = True
                yield Transcript(text=heard.text, language=LANGUAGE, seconds=seconds, segments=[segment])
    if not said:
        yield Transcript(text="", language=LANGUAGE, seconds=seconds)


def with_floor(samples: "np.ndarray") -> "np.ndarray":
    """An utterance, int16 (n,), with its background filled up by white noise to `FLOOR` dB below the utterance's level.

    The acoustic model was made from recordings of rooms. Out of a synthesizer, a noise gate or a phone's noise
    suppression there comes none: between the sounds and between the formants is nothing, and the logarithm of nothing
    is far outside what the model knows. A background of that level or more stays as it is: noise would cost it words.
    The noise is the same at every call, so a recording always says the same.
    """
    import numpy as np

    sound, size = samples.astype(np.float32), RATE // FRAMES
    frames = np.square(sound[: len(sound) // size * size].reshape(-1, size)).mean(axis=1)
    if not len(frames):
        return samples
    missing = np.square(sound).mean() * 10 ** (-FLOOR / 10) - np.percentile(frames, QUIET)
    if missing <= 0:
        return samples
    noise = np.random.default_rng(0).normal(0, missing**0.5, len(sound))
    return np.clip(sound + noise, -32768, 32767).astype(np.int16)


def _words(ears: _Ears, samples: "np.ndarray") -> _Heard:
    """What one utterance says: in the domain's words if they explain the sound clearly better, else in any words."""
    general = _decode(ears.general, samples)
    if ears.domain is None:
        return general
    first, second = (_decode(decoder, samples) for decoder in ears.domain)
    return first if sureness(general, first, second) > DOMAIN_SURE else general


def sureness(general: _Heard, first: _Heard, second: _Heard) -> float:
    """How much speaks for the domain's words: what its path gains over the general one's, in nats per frame of 10 ms,
    how far its two readings agree, 0 to 1, and how far the first and the general one do.

    Both scores are log P(sound | words) + weighted log P(words), so their difference is the log Bayes factor (Kass &
    Raftery 1995) of the two language models, each at its best words. A forced reading of other speech changes with how
    closely one looks; a right one does not. Where the general model hears nearly the same, its path scores nearly as
    well, and there is little to lose.
    """
    gain = first.score - general.score
    return gain + agreement(first.text, second.text) + agreement(general.text, first.text)


def _decode(decoder: Any, samples: "np.ndarray") -> _Heard:
    """Search for one utterance. Whole utterances get the mean of their own cepstra, whatever was decoded before."""
    try:
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), no_search=False, full_utt=True)
        decoder.end_utt()
    except RuntimeError as error:
        raise ModelUnavailable(f"PocketSphinx failed: {error}") from None
    heard = decoder.hyp()
    if heard is None or heard.score <= 0:
        return _Heard("", -math.inf, ())
    words = [seg for seg in decoder.seg() if not seg.word.startswith(("<", "["))]  # silences and noises are no words
    spoken = tuple(_Spoken(seg.word.split("(")[0], seg.start_frame, seg.end_frame + 1) for seg in words)
    return _Heard(heard.hypstr.strip(), SCORE_SCALE * math.log(heard.score) / max(decoder.n_frames(), 1), spoken)


def _utterances(samples: "np.ndarray") -> Iterator[tuple[int, int]]:
    """First and last sample of each stretch of speech, none longer than `LONGEST_UTTERANCE`."""
    import pocketsphinx

    endpointer = pocketsphinx.Endpointer(sample_rate=RATE)
    data, size = samples.tobytes(), endpointer.frame_bytes
    margin, stretches, begun = int(MARGIN * RATE), [], False
    whole = max(0, (len(data) - 1) // size) * size  # the last frame, whole or not, is for end_stream
    for at in range(0, whole, size):
        speech = endpointer.process(data[at : at + size])
        begun = endpointer.in_speech
        if speech is not None and not begun:
            stretches.append((endpointer.speech_start, endpointer.speech_end))
    endpointer.end_stream(data[whole:])
    if begun:
        stretches.append((endpointer.speech_start, len(samples) / RATE))
    for start, end in stretches:
        first = max(0, int(start * RATE) - margin)
        last = min(len(samples), int(end * RATE) + margin)
        while last - first > LONGEST_UTTERANCE * RATE:
            cut = _quietest(samples, first)
            yield first, cut
            first = cut
        yield first, last


def _quietest(samples: "np.ndarray", first: int) -> int:
    """Where to cut a long stretch: the quietest tenth of a second in the later half of what may be decoded at once."""
    import numpy as np

    window, longest = RATE // 10, int(LONGEST_UTTERANCE * RATE)
    later = samples[first + longest // 2 : first + longest].astype(np.float32)
    energy = np.square(later[: len(later) // window * window]).reshape(-1, window).mean(axis=1)
    return first + longest // 2 + int(energy.argmin()) * window + window // 2
