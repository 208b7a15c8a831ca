"""Part `engines`: the gain of batching, the cost of changing weights, and a language model beside vLLM's own server."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from deployments import BACKENDS
from deployments.errors import MedleyError
from deployments.media import Audio

from . import language
from .report import Row, at_least, at_most, console, info, save

ROUNDS, TOGETHER, CLIPS, STRETCHES = 5, 8, 10, 16
PAINTER = {"weights": "starter/painter", "steps": 20, "guidance": 5, "upscale_to": 256, "upscaler": "starter/upscaler"}
PROMPTS = [
    f"{count} {colour} circles on white" for count in ("two", "three") for colour in ("red", "blue", "green", "black")
]


def run(quick: bool = False) -> list[Row]:
    """Measure, print and save; `quick` makes it one short round."""
    rounds = 1 if quick else ROUNDS
    rows = [*asyncio.run(images(rounds)), *asyncio.run(speech(rounds)), *asyncio.run(swap())]
    if not quick:
        rows += language.run()
    save("engines", rows)
    return rows


async def images(rounds: int) -> list[Row]:
    """Measure eight callers at once: the same painter with batches of one and of eight, in turns."""
    painters = {most: await loaded("diffusers", PAINTER | {"max_batch": most}) for most in (1, TOGETHER)}

    def paint(most: int) -> Callable[[], Awaitable[Any]]:
        return lambda: asyncio.gather(*(painters[most].generate(prompt, seed=1) for prompt in PROMPTS))

    seconds = await by_turns({most: paint(most) for most in painters}, rounds)
    return [
        *compared("images, 8 at once", seconds, TOGETHER, "pictures/s", len(PROMPTS)),
        at_least("images, 8 at once: batches of 8 / one by one", gain(seconds, TOGETHER), 1.5),
    ]


async def speech(rounds: int) -> list[Row]:
    """Measure ten clips of half a minute at once: their stretches in batches of up to sixteen, and one by one.

    The Whisper has the size and vocabulary of the smallest public model and random weights; it outputs noise of as many
    tokens as half a minute of ordinary speech has (some 80 words).
    """
    clips = await recordings()
    with tempfile.TemporaryDirectory() as folder:
        weights = str(whisper(Path(folder)))
        ears = {most: await loaded("faster_whisper", {"weights": weights, "batch": most}) for most in (1, STRETCHES)}

        async def read(most: int) -> None:
            await asyncio.gather(*(ears[most].transcribe(clip, language="en") for clip in clips))

        seconds = await by_turns({most: lambda most=most: read(most) for most in ears}, rounds)
    return [
        info("speech, a clip, mean", sum(clip_seconds(clip) for clip in clips) / len(clips), "s of speech"),
        *compared("speech, ten clips at once", seconds, STRETCHES, "clips/s", len(clips)),
        at_least("speech, ten clips at once: batches of 16 / one by one", gain(seconds, STRETCHES), 1.5),
    ]


async def swap() -> list[Row]:
    """Measure failures and waits of eight callers without a pause, while the painter gets other weights three times."""
    painter = await loaded("diffusers", PAINTER)
    requests, failed, slowest, over = 0, 0, 0.0, False

    async def caller(number: int) -> None:
        nonlocal requests, failed, slowest
        while not over:
            began = time.perf_counter()
            try:
                await painter.generate(PROMPTS[number], seed=number)
            except MedleyError:
                failed += 1
            requests += 1
            slowest = max(slowest, time.perf_counter() - began)

    callers = [asyncio.create_task(caller(number)) for number in range(TOGETHER)]
    for steps in (10, 20, 10):
        await painter.reconfigure(painter.Options(**{**PAINTER, "steps": steps}))
        await asyncio.sleep(1)
    over = True
    await asyncio.gather(*callers)
    return [
        info("weights changed in place three times: requests meanwhile", requests, "requests"),
        at_most("weights changed in place three times: failed requests", failed, 0, "requests"),
        info("weights changed in place three times: the longest wait", slowest, "s"),
    ]


async def loaded(name: str, options: dict[str, Any]) -> Any:
    backend = BACKENDS[name]()
    await backend.reconfigure(BACKENDS[name].Options(**options))
    return backend


async def by_turns(work: dict[int, Callable[[], Awaitable[Any]]], rounds: int) -> dict[int, list[float]]:
    """The seconds of each work, one value per round; a first round warms up and is not counted."""
    seconds: dict[int, list[float]] = {most: [] for most in work}
    for number in range(rounds + 1):
        for most, once in work.items():
            began = time.perf_counter()
            await once()
            if number:
                seconds[most].append(time.perf_counter() - began)
                console.print(f"round {number}  batches of {most}: {seconds[most][-1]:.2f} s", style="dim")
    return seconds


def compared(what: str, seconds: dict[int, list[float]], most: int, unit: str, count: int) -> list[Row]:
    named = {1: "one by one", most: f"batches of {most}"}
    return [
        info(f"{what}, {named[size]}, median of {len(values)}", count / statistics.median(values), unit)
        for size, values in seconds.items()
    ]


def gain(seconds: dict[int, list[float]], most: int) -> float:
    return statistics.median(single / batch for single, batch in zip(seconds[1], seconds[most], strict=True))


async def recordings() -> list[Audio]:
    speaker = await loaded("espeak", {})
    text = "The lighthouse keeper climbed the stairs again, lit the lamp, and wrote down which ships had passed. "
    return [await speaker.synthesize(f"Clip number {number}. {text * 4}") for number in range(CLIPS)]


def clip_seconds(clip: Audio) -> float:
    from deployments import audio

    return len(audio.decode(clip, 16_000)) / 16_000


def whisper(folder: Path) -> Path:
    """Random weights in the size of the smallest Whisper (Radford et al. 2022: 39 million), in CTranslate2's format."""
    from tests.backends.weights import write_whisper

    return write_whisper(folder, width=384, layers=4, heads=6, words=50_000, says=110)
