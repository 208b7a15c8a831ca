"""What a GPU is for: many at once. Each takes less time together than one after the other."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.capabilities import Message

from ..backends.weights import write_whisper
from .gpu import ELSEWHERE

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("cuda")]
TOGETHER = 8
TOKENS = 200  # of each reply
WORDS = 110  # of each transcript, as of the benchmark
LESS = 0.7  # of the time that they take one by one
Figure = Callable[[str, object], None]


async def share_of_the_time(work: Callable[[int], Awaitable[Any]], what: str, record_property: Figure) -> float:
    """How long `TOGETHER` calls take at the same time, as a part of what they take one by one."""

    async def all_at_once() -> None:
        await asyncio.gather(*(work(number) for number in range(TOGETHER)))

    await work(0)
    await all_at_once()  # what is chosen and compiled on first use is no part of the measure
    begun = time.perf_counter()
    for number in range(TOGETHER):
        await work(number)
    one_by_one = time.perf_counter() - begun
    begun = time.perf_counter()
    await all_at_once()
    share = (time.perf_counter() - begun) / one_by_one
    print(f"{what}, {TOGETHER} together: {share:.2f} of the time one by one, which is {one_by_one:.2f} s")
    record_property(f"{what}, {TOGETHER} together: of the time one by one", share)
    return share


async def test_pictures_painted_together(fresh: Any, record_property: Figure) -> None:
    how: dict[str, Any] = {"weights": "starter/painter", "dtype": "auto", "steps": 20, "max_batch": TOGETHER}
    painter = await asyncio.to_thread(fresh, "diffusers", **how)

    def paint(seed: int) -> Awaitable[Any]:
        return painter.generate("a red circle on a blue background", seed=seed)

    assert await share_of_the_time(paint, "pictures", record_property) < LESS


async def test_replies_written_together_by_vllm(fresh: Any, record_property: Figure) -> None:
    writer = await asyncio.to_thread(fresh, "vllm", max_tokens=TOKENS)
    messages = [Message(role="user", content="hi")]

    def write(seed: int) -> Awaitable[Any]:
        return writer.chat(messages, temperature=1, seed=seed)

    try:
        assert await share_of_the_time(write, "replies", record_property) < LESS
    finally:
        await asyncio.to_thread(writer._engine.close)


async def test_recordings_read_together(fresh: Any, load: Any, tmp_path: Path, record_property: Figure) -> None:
    pytest.importorskip("ctranslate2", reason=f"ctranslate2 is not installed here: {ELSEWHERE}")
    weights = await asyncio.to_thread(write_whisper, tmp_path, 384, 4, 6, words=50_000, says=WORDS)  # of the tiny size
    spoken = await load("espeak").synthesize("one two three four five six seven eight nine ten " * 2)
    ears = await asyncio.to_thread(fresh, "faster_whisper", weights=str(weights), batch=TOGETHER)
    assert await share_of_the_time(lambda _: ears.transcribe(spoken), "recordings", record_property) < LESS
