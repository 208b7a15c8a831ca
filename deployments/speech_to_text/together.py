"""Stretches of speech from several recordings, read by one Whisper in one batch."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from typing import Any

from ..batching import Batches, Call
from ..engine import failure

LOOK_S = 0.05  # how often a reading looks whether its caller has gone


class Reader:
    """A Whisper that reads stretches of up to 30 s, `most` at a time, whichever calls they are of."""

    def __init__(self, model: Any, most: int) -> None:
        self.model = model
        # Of its own: the calls wait in the common threads, and may fill them.
        self._thread = ThreadPoolExecutor(1, "whisper")
        self._batches = Batches[tuple[Any, Any, Any], Any](self._read, most)

    def pipeline(self, loop: asyncio.AbstractEventLoop, cancelled: threading.Event) -> Any:
        """faster-whisper's batched pipeline for one call in a thread, whose stretches are read beside those of others.

        With word times a call is read by itself, since they are found in what the encoder made of its own stretches.

        Args:
            loop: the one that the calls come from.
            cancelled: set when the caller has gone.
        """
        import faster_whisper

        batches = self._batches

        class Together(faster_whisper.BatchedInferencePipeline):
            def generate_segment_batched(self, features: Any, tokenizer: Any, options: Any) -> Any:
                if options.word_timestamps:
                    return super().generate_segment_batched(features, tokenizer, options)
                kind = (tokenizer.language_code, tokenizer.task, options.beam_size)
                asked = [
                    asyncio.run_coroutine_threadsafe(batches.answer((stretch, tokenizer, options), kind), loop)
                    for stretch in features
                ]
                while wait(asked, LOOK_S).not_done:
                    if cancelled.is_set():
                        for one in asked:
                            one.cancel()
                        raise CancelledError
                return None, [one.result() for one in asked]

        return Together(self.model)

    async def _read(self, calls: Sequence[Call[tuple[Any, Any, Any], Any]]) -> Sequence[Any]:
        items = [call.item for call in calls]
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._generate, items)

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
