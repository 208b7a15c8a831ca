"""Measure the painter on combinations it never saw, with the judge that looks at pixels only."""

import asyncio
import random
import statistics
import time
from dataclasses import replace

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageChops

from ... import media, pixels
from ...text_to_image.diffusers import DiffusersTextToImage
from ..phrases import expand
from ..world import COLOURS, SHAPES, SIDE, Scene, describe, judge, random_scene, render
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


def changed(scene: Scene, rng: random.Random, *fields: str) -> Scene:
    """The same scene but for these fields (colour, shape), each of which becomes another."""
    new = {"colour": rng.choice([c for c in COLOURS if c not in (scene.colour, scene.background)]),
           "shape": rng.choice([s for s in SHAPES if s != scene.shape])}  # fmt: skip
    return replace(scene, **{field: new[field] for field in fields})


def edits(count: int, seed: str = "edits") -> dict[str, float]:
    """Shares of edits and inpaintings after which the judge sees what was asked for, and only that was changed.

    Through the backend, as users have it: 256 pixels in, 256 out. An edit asks for another colour; an inpainting masks
    the figure and asks for another colour and shape; a variation without a prompt is to keep colour and background.
    """
    model, rng = DiffusersTextToImage(), random.Random(seed)
    options = DiffusersTextToImage.Options(weights="starter/painter", steps=STEPS, guidance=GUIDANCE, upscale_to=256,
                                           upscaler="starter/upscaler")  # fmt: skip
    asyncio.run(model.reconfigure(options))
    right = {"edit": 0, "inpaint": 0, "vary": 0}
    for number in range(count):
        scene = random_scene(rng, held_out=True, groups=0)
        before = render(scene).resize((256, 256), Image.Resampling.LANCZOS)
        asked = {
            "edit": changed(scene, rng, "colour"),
            "inpaint": changed(scene, rng, "colour", "shape"),
            "vary": scene,
        }
        given = pixels.write_picture(before)
        made = {
            "edit": model.edit(given, describe(asked["edit"], rng), seed=number),
            "inpaint": model.inpaint(given, figure_mask(before), describe(asked["inpaint"], rng), seed=number),
            "vary": model.vary(given, seed=number),
        }
        for task, call in made.items():
            seen = judge(pixels.open_picture(asyncio.run(call)).resize((SIDE, SIDE), Image.Resampling.BOX))
            fields = ("colour", "background") if task == "vary" else ("shape", "colour", "background", "position")
            right[task] += all(getattr(seen, field) == getattr(asked[task], field) for field in fields)
    return {task: found / count for task, found in right.items()}


def figure_mask(picture: Image.Image) -> media.Image:
    """White where the picture is not its corner's colour, and 16 pixels around: a box, as people draw one."""
    plain = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
    box = ImageChops.difference(picture, plain).convert("L").point([0] * 40 + [255] * 216).getbbox()
    mask = Image.new("L", picture.size)
    mask.paste(255, (max(0, box[0] - 16), max(0, box[1] - 16), min(256, box[2] + 16), min(256, box[3] + 16)))
    return pixels.write_picture(mask)
