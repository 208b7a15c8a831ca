"""Calls of a diffusers pipeline: what they are given, how they are painted together, how a picture gets its size."""

import copy
import math
import secrets
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .. import pixels
from ..engine import failure
from ..errors import InvalidInput
from ..image_enhancement.swin2sr import enlarge
from ..media import Image
from ..progress import Tell, teller
from .checks import check_guidance, check_steps, check_texts
from .context import check_context
from .pipelines import Engine, Task

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST_REFERENCES = 4
Finish = Callable[["Picture", threading.Event], "Picture"]  # from the painted to the delivered; the event stops it


@dataclass(frozen=True)
class Work:
    """A checked call. Its arguments have diffusers' own names; those a pipeline does not take are left out."""

    engine: Engine
    task: Task
    seed: int
    own: dict[str, Any]  # arguments that differ from call to call
    shared: dict[str, Any]  # arguments that calls painted together have in common
    finish: Finish
    adapter: str | None = None  # name of the one that holds
    tell: Tell = field(default_factory=teller)

    @property
    def kind(self) -> Hashable:
        """Calls of one kind can be painted together."""
        if self.engine.pipeline(self.task).looks or "ip_adapter_image" in self.own:
            return object()  # of no kind but its own
        sizes = tuple(sorted((name, media.size) for name, media in self.own.items() if hasattr(media, "size")))
        absent = tuple(name for name, value in self.own.items() if value is None)
        return id(self.engine), self.task, self.adapter, tuple(sorted(self.shared.items())), sizes, absent


def work_of(
    engine: Engine,
    task: Task,
    prompt: str,
    negative_prompt: str | None,
    steps: int | None,
    guidance: float | None,
    seed: int | None,
    *,
    adapter: str | None = None,
    may_be_empty: bool = False,
    **more: Any,
) -> Work:
    """The work of one call: what every task takes, checked.

    Raises:
        InvalidInput: a value cannot be used; the error names it.
        PromptTooLong: a text has more tokens than the model reads.
        ModelUnavailable: the model has no such task.
    """
    pipeline, options = engine.pipeline(task), engine.options
    check_texts(prompt, negative_prompt, may_be_empty=may_be_empty)
    check_context(pipeline.readers, prompt=prompt, negative_prompt=negative_prompt)
    if negative_prompt and "negative_prompt" not in pipeline.accepts:
        raise InvalidInput("negative_prompt", "is nothing this model takes")
    if adapter is not None and adapter not in engine.additions.adapters:
        known = ", ".join(engine.additions.adapters) or "none"
        raise InvalidInput("adapter", f"{adapter!r} is not one of this model's: {known}")
    steps = int(options.steps) if steps is None else steps
    check_steps(steps, options.max_steps)
    guidance = float(options.guidance) if guidance is None else guidance
    check_guidance(guidance)
    strength = more.get("strength")
    # Diffusers paints that part of the steps; the first comparison is false for NaN too.
    if strength is not None and (not 0 < strength <= 1 or int(steps * strength) < 1):
        least = math.ceil(100 / steps) / 100
        raise InvalidInput("strength", f"is {strength}; with {steps} steps it goes from {least:g} to 1")
    # Without a negative prompt of some kind Qwen-Image is not guided at all.
    nothing = " " if pipeline.guidance == "true_cfg_scale" else None
    own = {"prompt": prompt, "negative_prompt": negative_prompt or nothing}
    shared = {"num_inference_steps": steps, pipeline.guidance: guidance, **more}
    if negative_prompt and pipeline.avoidance:
        shared[pipeline.avoidance] = options.avoidance
    seed = secrets.randbits(63) if seed is None else seed % 2**63

    def finish(painted: "Picture", cancelled: threading.Event) -> "Picture":
        return _enlarged(engine, painted, cancelled) if engine.scale > 1 else painted

    return Work(engine, task, seed, own, shared, finish, adapter)


def strength_of(engine: Engine, task: Task, strength: float | None, usual: float) -> dict[str, float]:
    """The strength to work with, `usual` if the caller says none; nothing for a model that knows no such thing.

    Raises:
        InvalidInput: the caller says one to such a model.
    """
    if not engine.pipeline(task).looks:
        return {"strength": usual if strength is None else strength}
    if strength is not None:
        raise InvalidInput("strength", "is nothing this model takes: the prompt says how much changes")
    return {}


def painted_side(engine: Engine, name: str, side: int | None) -> int:
    """The side to paint for a delivered side of `side` pixels; `name` is width or height."""
    if side is None:
        return engine.size[name == "height"]
    unit = engine.step * engine.scale
    if not unit <= side <= engine.options.max_side or side % unit:
        most = engine.options.max_side // unit * unit
        raise InvalidInput(name, f"is {side}; it is a multiple of {unit} from {unit} to {most}")
    return int(side) // engine.scale


def beside(work: Work, references: Sequence[Image] | None) -> Work:
    """The work, done with a look at pictures if there are any.

    Raises:
        InvalidInput: the model does not look at any, or one cannot be opened.
    """
    if not references:
        return work
    takes = "ip_adapter_image" in work.engine.pipeline(work.task).accepts
    if work.engine.additions.references is None or not takes:
        raise InvalidInput("references", "are nothing this model takes")
    if len(references) > MOST_REFERENCES:
        raise InvalidInput("references", f"has {len(references)} pictures; at most {MOST_REFERENCES} are looked at")
    opened = [pixels.on_white(pixels.open_picture(image, "references")) for image in references]
    return replace(work, own=work.own | {"ip_adapter_image": opened})


def over(work: Work, image: Image) -> Work:
    """The work, begun from a picture; the result has its size."""
    picture = pixels.on_white(pixels.open_picture(image))

    def finish(painted: "Picture", cancelled: threading.Event) -> "Picture":
        return _of_size(work.engine, painted, picture.size, cancelled)

    size = _fitting(work.engine, picture.size)
    # Flow transformers paint their usual square unless told, and would squeeze the picture into it.
    shared = work.shared | {"width": size[0], "height": size[1]}
    if work.engine.pipeline(work.task).looks:
        shared |= {"max_area": size[0] * size[1], "_auto_resize": False}
    return replace(work, own=work.own | {"image": picture.resize(size)}, shared=shared, finish=finish)


def within(work: Work, image: Image, mask: Image) -> Work:
    """The work on what the mask covers. Every pixel it does not cover is the picture's own, to the last bit."""
    import PIL.Image

    picture = pixels.on_white(pixels.open_picture(image))
    cover = pixels.open_mask(mask, picture.size).point([0] * 128 + [255] * 128)
    size = _fitting(work.engine, picture.size)
    small = cover.resize(size, PIL.Image.Resampling.BOX).point([0] + [255] * 255)  # any masked pixel masks a small one

    def finish(painted: "Picture", cancelled: threading.Event) -> "Picture":
        whole = picture.copy()
        whole.paste(_of_size(work.engine, painted, picture.size, cancelled), mask=cover)
        return whole

    own = work.own | {"image": picture.resize(size), "mask_image": small}
    return replace(work, own=own, shared=work.shared | {"width": size[0], "height": size[1]}, finish=finish)


def paint(works: Sequence[Work], cancelled: Sequence[threading.Event]) -> list[Image | None]:
    """Paint works of one kind together; None for each whose caller has gone.

    Raises:
        CancelledError: every caller has gone.
        ModelUnavailable: the model failed; OutOfMemory if for want of memory.
    """
    painted = _run(works, cancelled)
    delivered = list[Image | None]()
    for work, picture, gone in zip(works, painted, cancelled, strict=True):
        try:
            delivered.append(None if gone.is_set() else pixels.write_picture(work.finish(picture, gone)))
        except CancelledError:
            delivered.append(None)
        except (RuntimeError, MemoryError) as error:
            raise failure(error, "the text-to-image model failed") from None
    return delivered


def _run(works: Sequence[Work], cancelled: Sequence[threading.Event]) -> "list[Picture]":
    import PIL.Image
    import torch

    def look(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        if all(gone.is_set() for gone in cancelled):
            raise CancelledError
        for work in works:
            work.tell(
                min(1.0, (step + 1) / (getattr(pipeline, "num_timesteps", 0) or first.shared["num_inference_steps"]))
            )
        return values

    first = works[0]
    whole = first.engine.pipeline(first.task)
    # The scheduler counts steps, and the pipeline notes its call's guidance on itself: neither is for two calls.
    pipeline = copy.copy(whole.make)
    pipeline.scheduler = copy.deepcopy(pipeline.scheduler)
    own = {name: [work.own[name] for work in works] for name, value in first.own.items() if value is not None}
    if whole.looks:  # a list would be several pictures for one prompt
        own = {name: value for name, (value,) in own.items()}
    references = own.get("ip_adapter_image")
    if first.engine.additions.references is not None:  # it has to be shown something, also where it does not weigh
        own["ip_adapter_image"] = references or [PIL.Image.new("RGB", (64, 64))]
    first.engine.additions.choose(pipeline, first.adapter, refer=references is not None)
    given = {name: value for name, value in (first.shared | own).items() if name in whole.accepts}
    if "callback_on_step_end" in whole.accepts:
        given["callback_on_step_end"] = look
    # In inference mode, the faster one, what is quantised by torchao could not be moved to a GPU and back.
    offload = "model_offload" in first.engine.options.savings
    with torch.no_grad() if offload else torch.inference_mode(), _as_it_was(first.engine):
        try:
            # A CPU's draws are the same beside any GPU.
            draws = [torch.Generator("cpu").manual_seed(work.seed) for work in works]
            return pipeline(**given, generator=draws, output_type="pil").images
        except (RuntimeError, MemoryError) as error:
            raise failure(error, "the text-to-image model failed") from None


@contextmanager
def _as_it_was(engine: Engine) -> Iterator[None]:
    """Whatever ends a call, the weights are as they were: diffusers sees to that only where a call ends well."""
    original = next(iter(engine.pipelines.values())).make  # siblings do not have its hooks
    vae = getattr(original, "vae", None)
    number = getattr(vae, "dtype", None)
    try:
        yield
    finally:
        if vae is not None and vae.dtype != number:  # SDXL's decodes in float32
            vae.to(dtype=number)
        if "model_offload" in engine.options.savings:
            original.maybe_free_model_hooks()


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


def _enlarged(engine: Engine, picture: "Picture", cancelled: threading.Event) -> "Picture":
    import numpy as np
    import PIL.Image

    if engine.upscaler is not None:
        return PIL.Image.fromarray(enlarge(engine.upscaler, np.array(picture), engine.scale, cancelled))
    size = (picture.width * engine.scale, picture.height * engine.scale)
    return picture.resize(size, PIL.Image.Resampling.LANCZOS)
