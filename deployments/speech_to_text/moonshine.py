"""Speech to text by Moonshine on ONNX Runtime: English, at a thirtieth of the recording's length on one core."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from .. import audio as recordings
from ..backend import Backend, Needs, in_thread, out_of_thread
from ..backend import Options as BackendOptions
from ..capabilities import Segment, SpeechToText, Transcript
from ..errors import BeyondModel, ModelUnavailable
from ..media import Audio
from ..onnx_session import folder_with, session
from ..speech_stretches import stretches

if TYPE_CHECKING:
    import numpy as np

RATE = 16_000  # Hz
LANGUAGE = "en"
ENCODER, DECODER, VOCABULARY = "encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"
LONGEST_STRETCH = 20  # seconds that the model hears at once
BEGIN, END = 1, 2  # tokens
TOKENS_PER_SECOND = 6.5  # as in the authors' own code: more are the beginning of a loop
SHORTEST_REPLY = 8  # tokens, whatever the length
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's


class Moonshine(Backend, SpeechToText):
    """Moonshine tiny (Jeffries et al. 2024, https://arxiv.org/abs/2410.15608), English, of 27 million weights.

    Takes a folder with the authors' ONNX files. Silero's voice activity (in faster-whisper's package) cuts the
    recording into stretches of at most 20 s, each of which is read as a whole, greedily: the same recording gives the
    same transcript. Quiet recordings are brought up first. Writes case and punctuation. It understands English only,
    and hears any other language as English, so name the language where it may be another. It knows no times of words.
    """

    class Options(BackendOptions):
        """Weights, and the cores of a call."""

        weights: str = Field(description=f"Folder with {ENCODER}, {DECODER} and {VOCABULARY}")
        threads: int = Field(
            1, ge=1, le=64, description="Of one call; recordings that come together have each their own"
        )

    needs: ClassVar[Needs] = Needs(cpus=0.5, concurrency=2)

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load other weights beside the old ones, then change over.

        Raises:
            ModelUnavailable: the weights are missing or damaged.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))

    async def transcribe(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> Transcript:
        """What it hears is English, so `translate` changes nothing."""
        engine = self._ready()
        _check(language, word_times)
        return await in_thread(lambda cancelled: Transcript.join(list(_heard(engine, audio, cancelled))))

    async def stream(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> AsyncIterator[Transcript]:
        """Each stretch when it has been read. Closing the iterator stops after the next."""
        engine = self._ready()
        _check(language, word_times)

        def read(give: Callable[[Transcript], None], cancelled: threading.Event) -> None:
            for transcript in _heard(engine, audio, cancelled):
                give(transcript)

        async with aclosing(out_of_thread(read)) as transcripts:
            async for transcript in transcripts:
                yield transcript

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("Moonshine is not loaded yet")
        return self._engine


def _check(language: str | None, word_times: bool) -> None:
    if language and language.lower().replace("_", "-").split("-")[0] != LANGUAGE:
        raise BeyondModel("language", f"is {language[:40]!r}; this model understands {LANGUAGE} only")
    if word_times:
        raise BeyondModel("word_times", "are not known to this model")


@dataclass(frozen=True)
class _Engine:
    """The loaded encoder and decoder, which many threads may run, and the texts of the tokens."""

    encoder: Any
    decoder: Any
    vocabulary: tuple[bytes, ...]

    def read(self, samples: "np.ndarray", cancelled: threading.Event) -> str:
        """The text of one stretch, float32 (n,) at `RATE`.

        Raises:
            CancelledError: the caller has gone.
        """
        import numpy as np

        sound = samples[None].astype(np.float32)
        mask = np.ones(sound.shape, np.int64)  # of samples, for the decoder too: it takes every 384th
        hidden = self.encoder.run(None, {"input_values": sound, "attention_mask": mask})[0]
        fixed = {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}
        names = [output.name for output in self.decoder.get_outputs()]
        inputs = [given for given in self.decoder.get_inputs() if given.name.startswith("past_key_values")]
        past = {given.name: np.zeros((1, given.shape[1], 0, given.shape[3]), np.float32) for given in inputs}
        token, written = BEGIN, list[int]()
        for step in range(SHORTEST_REPLY + int(len(samples) / RATE * TOKENS_PER_SECOND)):
            if cancelled.is_set():
                raise CancelledError
            feed = {"input_ids": np.array([[token]]), "use_cache_branch": np.array([step > 0]), **fixed, **past}
            made = dict(zip(names, self.decoder.run(None, feed), strict=True))
            token = int(made["logits"][0, -1].argmax())
            if token == END:
                break
            written.append(token)
            for name in past:
                if step == 0 or ".decoder." in name:  # what is known of the sound stays as it is
                    past[name] = made[name.replace("past_key_values", "present")]
        text = b"".join(self.vocabulary[token] for token in written).decode(errors="replace")
        return text.replace(SPACE, " ").strip()


def _heard(engine: _Engine, recording: Audio, cancelled: threading.Event) -> Iterator[Transcript]:
    """What each stretch of a recording says, as it is read; one transcript without segments if there is none."""
    samples = recordings.decode(recording, RATE)
    seconds, said = round(len(samples) / RATE, 3), False
    for first, last, stretch in stretches(samples, RATE, LONGEST_STRETCH):
        try:
            text = engine.read(stretch, cancelled)
        except (RuntimeError, MemoryError) as error:  # ONNX Runtime's errors are RuntimeErrors
            raise ModelUnavailable(f"Moonshine failed: {str(error).splitlines()[0][:300]}") from None
        if text:
            said = True
            segment = Segment(start=round(first / RATE, 2), end=round(last / RATE, 2), text=text)
            yield Transcript(text=text, language=LANGUAGE, seconds=seconds, segments=[segment])
    if not said:
        yield Transcript(text="", language=LANGUAGE, seconds=seconds)


def _load(options: Moonshine.Options) -> _Engine:
    folder = folder_with(options.weights, (ENCODER, DECODER, VOCABULARY))
    try:
        encoder, decoder = (session(folder / name, options.threads) for name in (ENCODER, DECODER))
        vocabulary = tuple(_tokens((folder / VOCABULARY).read_bytes()))
        size = decoder.get_outputs()[0].shape[-1]
        if len(vocabulary) != size:
            raise ValueError(f"{VOCABULARY} has {len(vocabulary)} tokens, the decoder {size}")
    except Exception as error:  # ONNX Runtime has a class for each of its codes
        raise ModelUnavailable(f"{options.weights} cannot be loaded: {str(error).splitlines()[0][:300]}") from None
    return _Engine(encoder, decoder, vocabulary)


def _tokens(data: bytes) -> Iterator[bytes]:
    """The texts of the tokens: each has its length before it, in one byte, or from 128 on in two (low, high)."""
    at = 0
    while at < len(data):
        length, at = data[at], at + 1
        if length >= 128:
            length, at = length - 128 + data[at] * 128, at + 1
        if at + length > len(data):
            raise ValueError(f"{VOCABULARY} is cut off")
        yield data[at : at + length]
        at += length
