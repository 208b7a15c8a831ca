"""Text to speech by eSpeak NG: formant synthesis, no weights, every language it has, far faster than speech."""

import ctypes
import difflib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from .. import audio
from ..backend import Backend, Needs, in_thread, turn
from ..backend import Options as BackendOptions
from ..capabilities import AudioFormat, TextToSpeech, Voice
from ..errors import InvalidInput, ModelUnavailable
from ..media import Audio
from .arguments import checked
from .speaking import Say, in_pieces, whole

if TYPE_CHECKING:
    import numpy as np

SEED = 1  # of the chance in its sound, which eSpeak takes from the clock: a test's recording is the same every day
SLOWEST = 80  # words a minute; eSpeak takes less as 80, so what is slower is stretched afterwards

# OpenAI's voices: who asks for one by habit gets a speaker of that kind, voice + variant.
OPENAI_VOICES = {
    "alloy": "en-us",
    "ash": "en-us+Michael",
    "ballad": "en-gb+m7",
    "cedar": "en-us+m3",
    "coral": "en-us+f2",
    "echo": "en-us+m2",
    "fable": "en-gb",
    "marin": "en-us+f4",
    "nova": "en-us+f3",
    "onyx": "en-us+m7",
    "sage": "en-us+Annie",
    "shimmer": "en-us+f5",
    "verse": "en-gb+m4",
}

# Listed by the library of espeakng-loader 0.2.4, which brings no dictionary for them: they would spell at best.
WITHOUT_DICTIONARY = {"fo", "kaa", "xex"}

# eSpeak's own tag for Klingon names a script only.
BCP_47 = {"piqd": "tlh-piqd"}

# speak_lib.h
SYNCHRONOUS = 2  # espeak_Synth returns when all is spoken; RETRIEVAL (1) speaks on in a thread of its own
DONT_EXIT = 0x8000  # a failure is not to end the process
RATE, PITCH = 1, 3
CHARS_UTF8, END_PAUSE = 1, 0x1000  # without espeakSSML (0x10) and espeakPHONEMES (0x100): a text is only text
ON_SAMPLES = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)

# The library keeps voice, rate and callback for the whole process, whatever the number of `ESpeak` objects.
LOCK = threading.Lock()


class ESpeak(Backend, TextToSpeech):
    """eSpeak NG 1.52 (https://github.com/espeak-ng/espeak-ng), the shared library of `espeakng-loader`, by ctypes.

    Speaks about 140 languages and dialects, US English by default, clear but robotic, 22,050 Hz mono. A voice is named
    by its language tag (`en-us`, `de`, `cmn`), with a variant of the speaker if wanted (`en-us+f3`, `de+Annie`), or by
    one of OpenAI's names (`alloy`, `nova`, ...: `OPENAI_VOICES`). It reads plain text: SSML is read out as it stands.
    It cannot clone a voice or show emotion. One text is spoken at a time in a process; a page takes about 0.3 s. The
    library's oscillators run on from text to text, so two readings of one text differ inaudibly, by some samples; the
    same texts in the same order sound the same in every process.
    """

    class Options(BackendOptions):
        """What is spoken with when the caller does not say."""

        voice: str = Field("en-us", description="Voice used when none is asked for")
        words_per_minute: int = Field(165, ge=80, le=300, description="Rate at speed 1")
        pitch: int = Field(50, ge=0, le=99, description="50 is the voice's own")

    needs: ClassVar[Needs] = Needs(cpus=0.1, concurrency=4)

    def __init__(self) -> None:
        self._options: ESpeak.Options | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load the library, once in a process, and take other defaults.

        Raises:
            ModelUnavailable: the library or its data is missing, or it has no such default voice.
        """

        def load(cancelled: threading.Event) -> None:
            with LOCK:
                library_of_espeak()
            try:
                identifier_of(options.voice)
            except InvalidInput as error:
                raise ModelUnavailable(str(error)) from None

        await in_thread(load)
        self._options = options

    async def synthesize(
        self, text: str, *, voice: str | None = None, speed: float | None = None, format: AudioFormat | None = None
    ) -> Audio:
        return await whole(*self._speech(text, voice, speed, format))

    def stream(
        self, text: str, *, voice: str | None = None, speed: float | None = None, format: AudioFormat | None = None
    ) -> AsyncIterator[Audio]:
        return in_pieces(*self._speech(text, voice, speed, format))

    def _speech(
        self, text: str, voice: str | None, speed: float | None, format: AudioFormat | None
    ) -> tuple[Say, int, AudioFormat]:
        """What says the text, its samples' rate in Hz, and the format of the file."""
        options = self._ready()
        text, speed, written = checked(text, speed, format)
        identifier = identifier_of(options.voice if voice is None else voice)
        words = options.words_per_minute * speed
        _, rate = library_of_espeak()  # loaded by `reconfigure`: without `LOCK`, which a long text holds

        def say(give: Callable[["np.ndarray"], None], cancelled: threading.Event) -> None:
            if words >= SLOWEST:
                _speak(text, identifier, words, options.pitch, give, cancelled)
                return
            import numpy as np

            parts: list[np.ndarray] = []
            _speak(text, identifier, words, options.pitch, parts.append, cancelled)
            if parts:  # eSpeak gives none of a text without sounds
                give(audio.at_tempo(np.concatenate(parts), rate, words / SLOWEST))

        return say, rate, written

    async def voices(self) -> list[Voice]:
        """Every language's voice, then OpenAI's names. Each language's voice also takes `+VARIANT`, see the class."""
        self._ready()
        named = [
            Voice(name=name, language=target.split("+")[0], description=f"OpenAI's name for {target}")
            for name, target in OPENAI_VOICES.items()
        ]
        return [voice for voice, _ in _voices().values()] + named

    def _ready(self) -> "ESpeak.Options":
        if self._options is None:
            raise ModelUnavailable("eSpeak NG is not loaded yet")
        return self._options


class _Voice(ctypes.Structure):
    """espeak_VOICE of speak_lib.h."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),  # (priority byte, tag, NUL)..., NUL
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


@cache
def library_of_espeak() -> tuple[Any, int]:
    """The library, initialised, and its sample rate in Hz. Call it under `LOCK`."""
    try:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
    except (ImportError, OSError) as error:
        raise ModelUnavailable(f"eSpeak NG cannot be loaded: {error}") from None
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    library.espeak_Synth.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int]
    library.espeak_Synth.argtypes += [ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p]
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, data, DONT_EXIT)
    if rate <= 0:
        raise ModelUnavailable("eSpeak NG does not find its data")
    return library, rate


def _listed(kind: str | None = None) -> list[tuple[list[tuple[int, str]], str, str]]:
    """([(rank, language tag), ...], identifier, name) of every voice, or of every variant if `kind` is `variant`."""
    spec = _Voice(languages=ctypes.cast(ctypes.c_char_p(kind.encode()), ctypes.c_void_p).value) if kind else None
    voices = []
    with LOCK:
        library, _ = library_of_espeak()
        for entry in library.espeak_ListVoices(ctypes.byref(spec) if spec else None):
            if not entry:
                break
            voice, tags = entry.contents, []
            at = voice.languages
            while rank := ctypes.string_at(at, 1)[0]:
                tag = ctypes.string_at(at + 1)
                tags.append((rank, tag.decode().lower()))
                at += len(tag) + 2
            voices.append((tags, voice.identifier.decode(), voice.name.decode()))
    return voices


@cache
def _voices() -> dict[str, tuple[Voice, str]]:
    """By name: the voice as callers see it, and eSpeak's identifier (its file) for it."""
    voices: dict[str, tuple[Voice, str]] = {}
    for tags, identifier, description in _listed():
        tag = tags[0][1]  # the first is the language the voice is made for
        name = tag if tag not in voices else identifier.split("/")[-1].lower()
        if name not in WITHOUT_DICTIONARY:
            voices[name] = (Voice(name=name, language=BCP_47.get(tag, tag), description=description), identifier)
    return voices


@cache
def _aliases() -> dict[str, str]:
    """Less exact tags, each to the voice eSpeak ranks first for it: `en` to `en-gb`, `zh` to `cmn`."""
    voices = _voices()
    ranked = sorted((rank, tag, tags[0][1]) for tags, _, _ in _listed() for rank, tag in tags[1:])
    best: dict[str, str] = {}
    for _, tag, name in ranked:
        if name in voices:
            best.setdefault(tag, name)
    return best


@cache
def _variants() -> frozenset[str]:
    return frozenset(identifier.removeprefix("!v/") for _, identifier, _ in _listed("variant"))


def identifier_of(voice: str) -> str:
    """What eSpeak calls a voice: `en-us+f3` is `gmw/en-US+f3`.

    Raises:
        InvalidInput: there is no such voice or variant; eSpeak itself would take any variant in silence.
    """
    base, plus, variant = OPENAI_VOICES.get(voice.lower(), voice).partition("+")
    voices = _voices()
    base = base.lower() if base.lower() in voices else _aliases().get(base.lower(), base.lower())
    if base not in voices:
        near = difflib.get_close_matches(base, [*OPENAI_VOICES, *voices], 4, 0.5)
        raise InvalidInput(
            "voice", f"is {voice[:80]!r}; " + (f"near it: {', '.join(near)}" if near else "see voices()")
        )
    if plus and variant not in _variants():
        near = difflib.get_close_matches(variant, _variants(), 4, 0.5) or sorted(_variants())[:8]
        raise InvalidInput("voice", f"is {voice[:80]!r}; variants near it: {', '.join(near)}")
    return voices[base][1] + plus + variant


def _speak(
    text: str,
    identifier: str,
    rate: float,
    pitch: int,
    give: Callable[["np.ndarray"], None],
    cancelled: threading.Event,
) -> None:
    """Give the text's int16 samples, shape (n,), as they are made. Raises `CancelledError` if cancelled meanwhile."""
    import numpy as np

    failed: list[Exception] = []

    @ON_SAMPLES
    def collect(samples: int | None, count: int, events: int | None) -> int:
        if samples and count > 0:
            try:
                give(np.frombuffer(ctypes.string_at(samples, count * 2), np.int16))
            except Exception as error:  # which would be printed and forgotten between here and there
                failed.append(error)
        return int(cancelled.is_set() or bool(failed))  # 1 ends the synthesis; called every 60 ms of speech

    with turn(LOCK, cancelled.is_set):
        library, _ = library_of_espeak()
        library.espeak_SetSynthCallback(collect)
        if library.espeak_SetVoiceByName(identifier.encode()):
            raise ModelUnavailable(f"eSpeak NG could not read its voice {identifier}")
        library.espeak_SetParameter(RATE, round(max(rate, SLOWEST)), 0)
        library.espeak_SetParameter(PITCH, pitch, 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(SEED))
        data = text.encode("utf-8", "replace")
        status = library.espeak_Synth(data, len(data) + 1, 0, 0, 0, CHARS_UTF8 | END_PAUSE, None, None)
    if cancelled.is_set():
        raise CancelledError
    if failed:
        raise failed[0]
    if status:
        raise ModelUnavailable(f"eSpeak NG failed with status {status}")
