"""Painting by Medley beside diffusers called directly: the same pictures, and on a GPU as fast."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.backend import GPU_MEMORY, weights_path
from deployments.engine import GIB
from deployments.media import Image
from deployments.pixels import open_picture, write_picture

from ..backends.painters import write_stable_diffusion

pytestmark = pytest.mark.asyncio
PROMPT, GUIDANCE = "a red circle on a blue background", 5.0
TOGETHER = 8
ROUNDS = 5  # the contenders take turns; the median of the rounds' ratios counts
LEAST = 0.95  # of the pictures that diffusers paints in the same time
LARGE_GIB = 8.0  # for the weights of Stable Diffusion's size, twice
Figure = Callable[[str, object], None]
Painter = Callable[[Sequence[int], int], Awaitable[list[Image]]]  # of seeds and steps


def contenders(fresh: Any, weights: str, dtype: str) -> tuple[Painter, Painter]:
    """Medley's way to paint pictures of some seeds at once, and that of diffusers."""
    import torch
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    how: dict[str, Any] = {"weights": weights, "dtype": dtype, "guidance": GUIDANCE}
    model = fresh("diffusers", **how, max_side=512, max_batch=TOGETHER)
    pipeline: Any = DiffusionPipeline.from_pretrained(
        weights_path(weights), dtype=getattr(torch, dtype), local_files_only=True
    )
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu").set_progress_bar_config(disable=True)
    width, height = model._engine.size

    async def by_medley(seeds: Sequence[int], steps: int) -> list[Image]:
        return await asyncio.gather(*(model.generate(PROMPT, seed=seed, steps=steps) for seed in seeds))

    def direct(seeds: Sequence[int], steps: int) -> list[Image]:
        draws = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        how: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": GUIDANCE, "generator": draws}
        with torch.inference_mode():
            made = pipeline([PROMPT] * len(seeds), width=width, height=height, **how).images
        return [write_picture(picture) for picture in made]

    async def by_diffusers(seeds: Sequence[int], steps: int) -> list[Image]:
        return await asyncio.to_thread(direct, seeds, steps)

    return by_medley, by_diffusers


async def test_the_pictures_are_those_of_diffusers(fresh: Any) -> None:
    by_medley, by_diffusers = await asyncio.to_thread(contenders, fresh, "starter/painter", "float32")
    for seeds in ([1], [2, 3, 4]):
        made = zip(await by_medley(seeds, 4), await by_diffusers(seeds, 4), strict=True)
        for one, other in made:
            levels = [np.asarray(open_picture(image)).astype(int) for image in (one, other)]
            assert np.abs(levels[0] - levels[1]).max() <= 2


async def seconds(work: Awaitable[Any]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


async def compare(contestants: tuple[Painter, Painter], count: int, what: str, record_property: Figure) -> float:
    """Medley's pictures for one of diffusers, in the same time."""
    by_medley, by_diffusers = contestants
    seeds, steps = range(count), 20
    for paint in contestants:
        await paint(seeds, steps)  # what is chosen and compiled on first use is no part of the measure
    rounds = [
        (await seconds(by_medley(seeds, steps)), await seconds(by_diffusers(seeds, steps))) for _ in range(ROUNDS)
    ]
    ratio = statistics.median(other / own for own, other in rounds)
    record_property(f"{what}, {count} at once: Medley / diffusers", ratio)
    record_property(f"{what}, {count} at once: s by Medley", statistics.median(own for own, _ in rounds))
    return ratio


@pytest.mark.parametrize("count", [1, TOGETHER])
async def test_the_small_starter_paints_as_fast(count: int, fresh: Any, cuda: Any, record_property: Figure) -> None:
    contestants = await asyncio.to_thread(contenders, fresh, "starter/painter", "bfloat16")
    assert await compare(contestants, count, "starter painter", record_property) > LEAST


async def test_weights_of_stable_diffusions_size_paint_as_fast(
    fresh: Any, cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Figure
) -> None:
    total = cuda.get_device_properties(0).total_memory / GIB
    if total < 2 * LARGE_GIB:
        pytest.skip(f"the GPU has {total:.0f} GiB: this test asks for {LARGE_GIB:.0f} of at least twice as many")
    monkeypatch.setenv(GPU_MEMORY, str(LARGE_GIB))
    weights = await asyncio.to_thread(write_stable_diffusion, tmp_path)
    contestants = await asyncio.to_thread(contenders, fresh, str(weights), "bfloat16")
    for count in (1, 4):
        assert await compare(contestants, count, "512 x 512, 20 steps", record_property) > LEAST
