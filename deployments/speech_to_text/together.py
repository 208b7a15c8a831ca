"""Sounds of several recordings, read by one Whisper in one batch."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ..batching import Batches, Call
from ..engine import failure
from .whisper_text import Reading, cut, silent, without_loop

if TYPE_CHECKING:
    import numpy as np

LOOK_S = 0.05  # how often a reading looks whether its callers have gone
# At which faster-whisper ties words together when it looks for their times.
BEFORE, AFTER = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True)
class Caller:
    """Who waits in an event loop for a call that is worked on in a thread."""

    loop: asyncio.AbstractEventLoop
    cancelled: threading.Event  # set when the caller has gone
    came: Callable[[], None]  # to be called in the loop when the call's sounds are there


@dataclass(frozen=True)
class How:
    """How a sound is read. Without a language (one of Whisper's own) it is found in the sound."""

    language: str | None
    task: str = "transcribe"
    beam: int = 1
    word_times: bool = False
    only_language: bool = False  # is asked for


@dataclass(frozen=True)
class Sound:
    """Up to 30 s as Whisper takes them: float32 (mels, 3000), of which the first `frames` (10 ms) are
    no padding."""

    features: "np.ndarray"
    frames: int


Asked = tuple[Sound, How]


class Reader:
    """A Whisper that reads up to `most` sounds at a time, whichever calls they are of."""

    def __init__(self, model: Any, most: int) -> None:
        self.model = model
        self.most = most
        self.threads = ThreadPoolExecutor(2 * most, "call")  # of calls: a batch is read, the next is made ready
        self._reading = ThreadPoolExecutor(2, "whisper")  # one batch, and one that nobody waits for any more
        self._batches = Batches[Asked, Reading](self._read, most)
        self._tokenizer = cache(self._new_tokenizer)

    def on_its_way(self) -> AbstractContextManager[Callable[[], None]]:
        """Around a call: others wait a moment for its sounds while its speech is looked for."""
        return self._batches.on_its_way()

    def sound(self, samples: "np.ndarray") -> Sound:
        """Samples, float32 (n,) at 16 kHz, at most 30 s, as Whisper takes them: with silence after them.

        faster-whisper fills features up with zeros, which are no silence; Whisper hears better beside what it knows.
        """
        import numpy as np

        extractor = self.model.feature_extractor
        silence = np.zeros(max(0, extractor.n_samples - len(samples)), np.float32)
        features = extractor(np.concatenate([samples, silence]))[..., : extractor.nb_max_frames]
        return Sound(features, len(samples) // extractor.hop_length)

    async def read(self, sound: Sound, how: How) -> Reading:
        """What is said, read beside what other calls ask for.

        Raises:
            OutOfMemory: it does not fit, even alone.
            ModelUnavailable: the engine fails.
        """
        return await self._batches.answer((sound, how), (how.beam, how.word_times, how.only_language))

    async def _read(self, calls: Sequence[Call[Asked, Reading]]) -> Sequence[Reading]:
        """CTranslate2 cannot be told to stop what it writes, so a batch that nobody waits for any more ends beside the
        next one."""
        working = asyncio.get_running_loop().run_in_executor(self._reading, self._answer, calls)
        working.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody else asks
        while not (await asyncio.wait({working}, timeout=LOOK_S))[0]:
            if all(call.cancelled.is_set() for call in calls):
                raise asyncio.CancelledError
        return working.result()

    def _answer(self, calls: Sequence[Call[Asked, Reading]]) -> Sequence[Reading]:
        """A reading for each call; for one whose caller goes before its sound is encoded, one of nothing."""
        try:
            encoded = self._encoded(calls)
            waiting = [call for call in calls if call in encoded]
            read = dict(zip(waiting, self._readings(waiting, encoded), strict=True)) if waiting else {}
        except (RuntimeError, MemoryError) as error:
            raise failure(error, "faster-whisper failed") from None
        return [read.get(call, Reading()) for call in calls]

    def _encoded(self, calls: Sequence[Call[Asked, Reading]]) -> Mapping[Call[Asked, Reading], "np.ndarray"]:
        """What the encoder makes of each sound.

        A CPU encodes them one by one: it needs a third more time for all at once, out of its caches, and can stop in
        between. The decoder, which reads all its weights for every token, is what a batch is for.
        """
        import ctranslate2
        import numpy as np

        def encode(some: Sequence[Call[Asked, Reading]]) -> "np.ndarray":
            features = ctranslate2.StorageView.from_array(np.stack([call.item[0].features for call in some]))
            return np.asarray(self.model.model.encode(features, to_cpu=True))

        if self.model.model.device != "cpu":
            return dict(zip(calls, encode(calls)[:, None], strict=True))
        return {call: encode([call]) for call in calls if not call.cancelled.is_set()}

    def _readings(
        self, calls: Sequence[Call[Asked, Reading]], encoded: Mapping[Call[Asked, Reading], "np.ndarray"]
    ) -> Sequence[Reading]:
        import ctranslate2
        import numpy as np

        made = ctranslate2.StorageView.from_array(np.concatenate([encoded[call] for call in calls]))
        languages = self._languages(calls, encoded)
        how = calls[0].item[1]
        if how.only_language:
            return [Reading(language=language) for language in languages]
        tokenizers = [
            self._tokenizer(language, call.item[1].task) for language, call in zip(languages, calls, strict=True)
        ]
        results = self.model.model.generate(
            made,
            [self.model.get_prompt(tokenizer, []) for tokenizer in tokenizers],
            beam_size=how.beam,
            max_length=self.model.max_length,
            suppress_tokens=_unsaid(tokenizers[0]),
            return_scores=True,
            return_no_speech_prob=True,
            sampling_temperature=0.0,
        )
        readings = list[Reading]()
        for call, result, tokenizer in zip(calls, results, tokenizers, strict=True):
            sound, tokens = call.item[0], result.sequences_ids[0]
            sure = result.scores[0] * len(tokens) / (len(tokens) + 1)
            reading = Reading()
            if not silent(sure, result.no_speech_prob):
                cut_up = cut(
                    tokens, tokenizer.timestamp_begin, sound.frames / self.model.frames_per_second, tokenizer.decode
                )
                reading = without_loop(cut_up, tokenizer.decode)
                if how.word_times:
                    reading = self._with_words(reading, encoded[call], sound, tokenizer)
            readings.append(
                replace(
                    reading,
                    avg_logprob=sure,
                    no_speech_prob=result.no_speech_prob,
                    language=tokenizer.language_code,
                )
            )
        return readings

    def _languages(
        self, calls: Sequence[Call[Asked, Reading]], encoded: Mapping[Call[Asked, Reading], "np.ndarray"]
    ) -> Sequence[str]:
        """Of each call, in Whisper's own tags: the one that it names, or the likeliest."""
        import ctranslate2
        import numpy as np

        open_ = [call for call in calls if call.item[1].language is None]
        if not self.model.model.is_multilingual:
            return ["en"] * len(calls)
        found = dict[Call[Asked, Reading], str]()
        if open_:
            made = ctranslate2.StorageView.from_array(np.concatenate([encoded[call] for call in open_]))
            for call, likely in zip(open_, self.model.model.detect_language(made), strict=True):
                found[call] = likely[0][0].strip("<|>")
        return [call.item[1].language or found[call] for call in calls]

    def _with_words(self, reading: Reading, encoded: "np.ndarray", sound: Sound, tokenizer: Any) -> Reading:
        """With the times of its words, found in what the encoder made of the sound."""
        import ctranslate2

        said = reading.parts
        if not said:
            return reading
        segments: list[dict[str, Any]] = [
            {"seek": 0, "start": part.start, "end": part.end, "tokens": list(part.tokens)} for part in said
        ]
        made = ctranslate2.StorageView.from_array(encoded)
        self.model.add_word_timestamps([segments], tokenizer, made, sound.frames, BEFORE, AFTER, 0.0)
        timed = [
            replace(
                part,
                start=float(segment["start"]),
                end=float(segment["end"]),
                words=[(float(word["start"]), float(word["end"]), word["word"].strip()) for word in segment["words"]],
            )
            for part, segment in zip(said, segments, strict=True)
        ]
        if reading.unfinished:
            return replace(reading, said=timed[:-1], unfinished=timed[-1])
        return replace(reading, said=timed)

    def _new_tokenizer(self, language: str, task: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(self.model.hf_tokenizer, self.model.model.is_multilingual, task=task, language=language)


def _unsaid(tokenizer: Any) -> list[int]:
    """Tokens that no text has: marks of speakers and music, and those of prompts."""
    from faster_whisper.transcribe import get_suppressed_tokens

    return list(get_suppressed_tokens(tokenizer, [-1]) or ())  # pyright: ignore[reportArgumentType]
