"""One call of a diffusers pipeline: what it is given, how it is stopped, and how its picture gets the asked size."""

import copy
import math
import secrets
import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import pixels
from ..engine import failure
from ..errors import InvalidInput
from ..image_enhancement.swin2sr import enlarge
from ..media import Image
from .checks import check_guidance, check_steps, check_texts
from .pipelines import Engine, Task

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True)
class Work:
    """A checked call. `arguments` are diffusers' own names; those a pipeline does not take are left out."""

    engine: Engine
    task: Task
    seed: int
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])


def asked(
    engine: Engine,
    task: Task,
    prompt: str,
    negative_prompt: str | None,
    steps: int | None,
    guidance: float | None,
    seed: int | None,
    *,
    may_be_empty: bool = False,
    **more: Any,
) -> Work:
    """What every task takes, checked.

    Raises:
        InvalidInput: a value cannot be used; the error names it.
        ModelUnavailable: the model has no such task.
    """
    accepts = engine.pipeline(task).accepts
    options = engine.options
    check_texts(prompt, negative_prompt, may_be_empty=may_be_empty)
    if negative_prompt and "negative_prompt" not in accepts:
        raise InvalidInput("negative_prompt", "is nothing this model takes")
    steps = int(options.steps) if steps is None else steps
    check_steps(steps, options.max_steps)
    guidance = float(options.guidance) if guidance is None else guidance
    check_guidance(guidance)
    strength = more.get("strength")
    # Diffusers paints that part of the steps; the first comparison is false for NaN too.
    if strength is not None and (not 0 < strength <= 1 or int(steps * strength) < 1):
        least = math.ceil(100 / steps) / 100
        raise InvalidInput("strength", f"is {strength}; with {steps} steps it goes from {least:g} to 1")
    given = {
        "prompt": prompt,
        "negative_prompt": negative_prompt or None,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        **more,
    }
    return Work(engine, task, secrets.randbits(63) if seed is None else seed % 2**63, given)


def painted_side(engine: Engine, name: str, side: int | None) -> int:
    """The side to paint for a delivered side of `side` pixels; `name` is width or height."""
    if side is None:
        return engine.size[name == "height"]
    unit = engine.step * engine.scale
    if not unit <= side <= engine.options.max_side or side % unit:
        most = engine.options.max_side // unit * unit
        raise InvalidInput(name, f"is {side}; it is a multiple of {unit} from {unit} to {most}")
    return int(side) // engine.scale


def paint(work: Work, cancelled: threading.Event) -> Image:
    """Paint from the text alone."""
    picture = _run(work, {}, cancelled)
    return pixels.write_picture(_enlarged(work.engine, picture, cancelled) if work.engine.scale > 1 else picture)


def repaint(work: Work, image: Image, cancelled: threading.Event) -> Image:
    """Paint over a picture; the result has its size."""
    picture = pixels.on_white(pixels.open_picture(image))
    small = picture.resize(_fitting(work.engine, picture.size))
    return pixels.write_picture(_of_size(work.engine, _run(work, {"image": small}, cancelled), picture.size, cancelled))


def fill(work: Work, image: Image, mask: Image, cancelled: threading.Event) -> Image:
    """Paint what the mask covers. Every pixel it does not cover is the picture's own, to the last bit."""
    import PIL.Image

    picture = pixels.on_white(pixels.open_picture(image))
    cover = pixels.open_mask(mask, picture.size).point([0] * 128 + [255] * 128)
    size = _fitting(work.engine, picture.size)
    small = cover.resize(size, PIL.Image.Resampling.BOX).point([0] + [255] * 255)  # any masked pixel masks a small one
    given = {"image": picture.resize(size), "mask_image": small, "width": size[0], "height": size[1]}
    painted = _of_size(work.engine, _run(work, given, cancelled), picture.size, cancelled)
    picture.paste(painted, mask=cover)
    return pixels.write_picture(picture)


def _fitting(engine: Engine, size: tuple[int, int]) -> tuple[int, int]:
    """The painted size for a picture of `size`: its shape as far as the model's steps go, as large as the usual one."""
    factor = max(engine.size) / max(size)
    width, height = (max(engine.step, round(side * factor / engine.step) * engine.step) for side in size)
    return width, height


def _of_size(engine: Engine, picture: "Picture", size: tuple[int, int], cancelled: threading.Event) -> "Picture":
    import PIL.Image

    if engine.scale > 1 and max(size) > max(picture.size):
        picture = _enlarged(engine, picture, cancelled)
    return picture if picture.size == size else picture.resize(size, PIL.Image.Resampling.LANCZOS)


def _run(work: Work, media: dict[str, Any], cancelled: threading.Event) -> "Picture":
    import torch

    def look(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        if cancelled.is_set():
            raise CancelledError
        return values

    whole = work.engine.pipeline(work.task)
    # The scheduler counts steps, and the pipeline notes its call's guidance on itself: neither is for two calls.
    pipeline = copy.copy(whole.make)
    pipeline.scheduler = copy.deepcopy(pipeline.scheduler)
    given = {name: value for name, value in {**work.arguments, **media}.items() if name in whole.accepts}
    if "callback_on_step_end" in whole.accepts:
        given["callback_on_step_end"] = look
    try:
        with torch.inference_mode():
            generator = torch.Generator("cpu").manual_seed(work.seed)  # a CPU's draws are the same beside any GPU
            return pipeline(**given, generator=generator, output_type="pil").images[0]
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "the text-to-image model failed") from None


def _enlarged(engine: Engine, picture: "Picture", cancelled: threading.Event) -> "Picture":
    import numpy as np
    import PIL.Image

    if engine.upscaler is not None:
        return PIL.Image.fromarray(enlarge(engine.upscaler, np.array(picture), engine.scale, cancelled))
    size = (picture.width * engine.scale, picture.height * engine.scale)
    return picture.resize(size, PIL.Image.Resampling.LANCZOS)
