"""Stretches of speech from several recordings, read by one Whisper in one batch."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ..batching import Batches, Call
from ..engine import failure

LOOK_S = 0.05  # how often a reading looks whether its caller has gone


@dataclass(frozen=True)
class Caller:
    """Who waits in an event loop for a call that is worked on in a thread."""

    loop: asyncio.AbstractEventLoop
    cancelled: threading.Event  # set when the caller has gone
    came: Callable[[], None]  # to be called in the loop when the call's stretches are there


class Reader:
    """A Whisper that reads stretches of up to 30 s, `most` at a time, whichever calls they are of."""

    def __init__(self, model: Any, most: int) -> None:
        self.model = model
        self.threads = ThreadPoolExecutor(2 * most, "call")  # of calls: a batch is read, the next is made ready
        self._reading = ThreadPoolExecutor(1, "whisper")
        self._batches = Batches[tuple[Any, Any, Any], Any](self._read, most)

    def on_its_way(self) -> AbstractContextManager[Callable[[], None]]:
        """Around a call: others wait a moment for its stretches while its speech is looked for."""
        return self._batches.on_its_way()

    def pipeline(self, caller: Caller) -> Any:
        """faster-whisper's batched pipeline for one call in a thread, whose stretches are read beside those of others.

        With word times a call is read by itself, since they are found in what the encoder made of its own stretches.
        """
        import faster_whisper

        batches = self._batches

        async def read(stretches: Any, tokenizer: Any, options: Any) -> list[Any]:
            kind = (tokenizer.language_code, tokenizer.task, options.beam_size)
            answers = asyncio.gather(*(batches.answer((stretch, tokenizer, options), kind) for stretch in stretches))
            asyncio.get_running_loop().call_soon(caller.came)  # when they have begun to wait
            return await answers

        class Together(faster_whisper.BatchedInferencePipeline):
            def generate_segment_batched(self, features: Any, tokenizer: Any, options: Any) -> Any:
                if options.word_timestamps:
                    caller.loop.call_soon_threadsafe(caller.came)
                    return super().generate_segment_batched(features, tokenizer, options)
                answers = asyncio.run_coroutine_threadsafe(read(features, tokenizer, options), caller.loop)
                while wait([answers], LOOK_S).not_done:
                    if caller.cancelled.is_set():
                        answers.cancel()
                        raise CancelledError
                return None, answers.result()

        return Together(self.model)

    async def _read(self, calls: Sequence[Call[tuple[Any, Any, Any], Any]]) -> Sequence[Any]:
        items = [call.item for call in calls]
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._generate, items)

    def _generate(self, items: Sequence[tuple[Any, Any, Any]]) -> Sequence[Any]:
        import faster_whisper
        import numpy as np

        _, tokenizer, options = items[0]
        try:
            reader = faster_whisper.BatchedInferencePipeline(self.model)
            _, outputs = reader.generate_segment_batched(np.stack([item[0] for item in items]), tokenizer, options)
        except (RuntimeError, MemoryError) as error:
            raise failure(error, "faster-whisper failed") from None
        return outputs
