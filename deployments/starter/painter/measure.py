"""Measure the painter on combinations it never saw, with the judge that looks at pixels only."""

import random
import statistics
import time

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from ..phrases import expand
from ..world import Scene, describe, judge, random_scene, render
from .data import FIELDS

STEPS, GUIDANCE = 20, 5.0  # the recommended defaults


def prompts(count: int, seed: str = "held out") -> tuple[list[Scene], list[str]]:
    """Held-out scenes and what is said about them, every second one with the writer's kind of additions."""
    rng = random.Random(seed)
    scenes = [random_scene(rng, held_out=True) for _ in range(count)]
    return scenes, [describe(scene, rng) + (", " + expand(rng) if i % 2 else "") for i, scene in enumerate(scenes)]


def paint(
    pipeline: StableDiffusionPipeline, texts: list[str], steps: int = STEPS, guidance: float = GUIDANCE, batch: int = 25
) -> list[Image.Image]:
    """A 64x64 picture of every text."""
    pipeline.set_progress_bar_config(disable=True)
    generator, painted = torch.Generator().manual_seed(0), []
    for start in range(0, len(texts), batch):
        painted += pipeline(texts[start : start + batch], num_inference_steps=steps, guidance_scale=guidance,
                            height=64, width=64, generator=generator).images  # fmt: skip
    return painted


def agreement(scenes: list[Scene], pictures: list[Image.Image]) -> dict[str, float]:
    """Shares (0 to 1) of pictures in which the judge sees what the scene says."""
    seen = [judge(picture) for picture in pictures]

    def share(*names: str) -> float:
        pairs = zip(scenes, seen, strict=True)
        return sum(all(getattr(a, n) == getattr(b, n) for n in names) for a, b in pairs) / len(scenes)

    return {
        "shape and colour": share("shape", "colour"), "background": share("background"), "position": share("position"),
        "size": share("size"), "count": share("count"), "everything": share(*FIELDS),
    }  # fmt: skip


def report(
    pipeline: StableDiffusionPipeline, count: int = 200, steps: int = STEPS, guidance: float = GUIDANCE
) -> dict[str, dict[str, float]]:
    """Print and return agreement for painted pictures, for true renderings, and for pictures dealt to wrong prompts."""
    scenes, texts = prompts(count)
    painted = paint(pipeline, texts, steps, guidance)
    shifted = painted[1:] + painted[:1]
    found = {
        "painted": agreement(scenes, painted),
        "true renderings": agreement(scenes, [render(scene) for scene in scenes]),
        "shuffled prompts": agreement(scenes, shifted),
    }
    for name, values in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in values.items()))
    return found


def seconds_a_picture(pipeline: StableDiffusionPipeline) -> float:
    """Of one prompt, with this process's threads; the median of five."""
    _, texts = prompts(5)
    times = []
    for text in texts:
        start = time.perf_counter()
        paint(pipeline, [text])
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def sheet(pictures: list[Image.Image], columns: int = 10) -> Image.Image:
    """All pictures on one, row by row."""
    whole = Image.new("RGB", (66 * columns, 66 * -(-len(pictures) // columns)), "grey")
    for i, picture in enumerate(pictures):
        whole.paste(picture, (66 * (i % columns) + 1, 66 * (i // columns) + 1))
    return whole
