"""Text to image by Hugging Face diffusers: any text-to-image pipeline in safetensors, on a CPU or one GPU."""

import copy
import inspect
import math
import secrets
import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import Needs, in_thread, weights_path
from ..backend import Options as BackendOptions
from ..capabilities import TextToImage
from ..engine import device_for, failure, is_local
from ..errors import InvalidInput, ModelUnavailable
from ..image_enhancement.swin2sr import Networks, Swin2SR, enlarge, load
from ..media import Image

LONGEST_PROMPT = 8000  # characters; most text encoders read 77 tokens of them
MOST_GUIDANCE = 30.0


class DiffusersTextToImage(TextToImage):
    """A text-to-image pipeline of diffusers (https://github.com/huggingface/diffusers): Stable Diffusion and the like.

    Takes a folder or a hub name in diffusers' layout with safetensors; never pickles and never code that comes with
    weights. The same seed and arguments give the same picture on the same kind of machine. Calls share the weights and
    nothing else. Sides are multiples of what the pipeline's VAE takes. It does not edit, inpaint or check what it
    painted; a prompt longer than the text encoder reads is cut by it.

    With `upscale_to` a picture of the pipeline's own small size is enlarged so that people can see it: the starter
    paints 64 x 64 and delivers 256 x 256. Asked sizes are then the delivered ones, and must be multiples of the
    enlarged step. `upscaler` is the super-resolution that does it; without one it is Lanczos, which adds no detail.
    """

    class Options(BackendOptions):
        """Weights, where they run, limits, and what holds when the caller does not say."""

        weights: str = Field(description="Folder, `starter/NAME` or hub name")
        revision: str | None = Field(None, description="Commit, tag or branch of a hub name; pin a commit")
        variant: str | None = Field(None, description="Variant of the weights files, such as fp16")
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: float32 on a CPU")
        device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
        threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")
        steps: int = Field(20, ge=1, le=1000)
        max_steps: int = Field(100, ge=1, le=1000)
        guidance: float = Field(7.5, ge=0, le=MOST_GUIDANCE)
        width: int | None = Field(
            None, ge=8, le=pixels.LONGEST_SIDE, description="Painted pixels; the pipeline's own by default"
        )
        height: int | None = Field(None, ge=8, le=pixels.LONGEST_SIDE, description="As width")
        max_side: int = Field(1024, ge=8, le=pixels.LONGEST_SIDE, description="Delivered pixels, width and height each")
        upscale_to: int | None = Field(
            None,
            ge=8,
            le=pixels.LONGEST_SIDE,
            description="Delivered longer side of the usual size; a whole multiple of it",
        )
        upscaler: str | None = Field(None, description="Weights of a Swin2SR that enlarges by as much")

    needs: ClassVar[Needs] = Needs(cpus=1, concurrency=1)

    def __init__(self) -> None:
        self._engine: _Engine | None = None

    async def reconfigure(self, options: Options) -> None:
        """Load another pipeline beside the old one, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, pickled or not a text-to-image pipeline, or the options'
                sizes do not suit it.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: _load(options))

    def check_health(self) -> None:
        self._ready()

    async def generate(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
    ) -> Image:
        engine = self._ready()
        options = engine.options
        for field, text in (("prompt", prompt), ("negative_prompt", negative_prompt or "")):
            if len(text) > LONGEST_PROMPT:
                raise InvalidInput(field, f"has {len(text):,} characters; at most {LONGEST_PROMPT:,} are read")
        if not prompt.strip():
            raise InvalidInput("prompt", "is empty")
        if negative_prompt and "negative_prompt" not in engine.accepts:
            raise InvalidInput("negative_prompt", "is nothing this model takes")
        steps = options.steps if steps is None else steps
        if not 1 <= steps <= options.max_steps:
            raise InvalidInput("steps", f"is {steps}; it goes from 1 to {options.max_steps}")
        guidance = options.guidance if guidance is None else guidance
        if not 0 <= guidance <= MOST_GUIDANCE:  # also false for NaN
            raise InvalidInput("guidance", f"is {guidance}; it goes from 0 to {MOST_GUIDANCE:g}")
        arguments = {
            "prompt": prompt,
            "negative_prompt": negative_prompt or None,
            "width": _painted(engine, "width", width),
            "height": _painted(engine, "height", height),
            "num_inference_steps": steps,
            "guidance_scale": guidance,
        }
        number = secrets.randbits(63) if seed is None else seed % 2**63
        return await in_thread(lambda cancelled: _paint(engine, arguments, number, cancelled))

    def _ready(self) -> "_Engine":
        if self._engine is None:
            raise ModelUnavailable("the text-to-image model is not loaded yet")
        return self._engine


@dataclass(frozen=True)
class _Engine:
    """A loaded pipeline. Calls work on copies that share its weights."""

    pipeline: Any
    options: DiffusersTextToImage.Options
    accepts: frozenset[str]  # arguments of its __call__
    size: tuple[int, int]  # painted unless asked otherwise: width, height
    step: int  # painted sides are multiples of it
    scale: int  # delivered pixels per painted one, along a side
    upscaler: Networks | None


def _painted(engine: _Engine, field: str, asked: int | None) -> int:
    """The side to paint for a delivered side of `asked` pixels."""
    if asked is None:
        return engine.size[field == "height"]
    unit = engine.step * engine.scale
    if not unit <= asked <= engine.options.max_side or asked % unit:
        most = engine.options.max_side // unit * unit
        raise InvalidInput(field, f"is {asked}; it is a multiple of {unit} from {unit} to {most}")
    return int(asked) // engine.scale


def _paint(engine: _Engine, arguments: dict[str, Any], seed: int, cancelled: threading.Event) -> Image:
    import torch

    def look(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        if cancelled.is_set():
            raise CancelledError
        return values

    # The scheduler counts steps, and the pipeline notes its call's guidance on itself: neither is for two calls.
    pipeline = copy.copy(engine.pipeline)
    pipeline.scheduler = copy.deepcopy(engine.pipeline.scheduler)
    given = {name: value for name, value in arguments.items() if name in engine.accepts}
    if "callback_on_step_end" in engine.accepts:
        given["callback_on_step_end"] = look
    try:
        with torch.inference_mode():
            generator = torch.Generator("cpu").manual_seed(seed)  # a CPU's draws are the same beside any GPU
            picture = pipeline(**given, generator=generator, output_type="pil").images[0]
    except (RuntimeError, MemoryError) as error:
        raise failure(error, "the text-to-image model failed") from None
    if engine.scale > 1:
        picture = _enlarged(engine, picture, cancelled)
    return pixels.write_picture(picture)


def _enlarged(engine: _Engine, picture: Any, cancelled: threading.Event) -> Any:
    import numpy as np
    import PIL.Image

    if engine.upscaler is not None:
        return PIL.Image.fromarray(enlarge(engine.upscaler, np.array(picture), engine.scale, cancelled))
    size = (picture.width * engine.scale, picture.height * engine.scale)
    return picture.resize(size, PIL.Image.Resampling.LANCZOS)


def _load(options: DiffusersTextToImage.Options) -> _Engine:
    import diffusers.utils
    import torch
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    path = weights_path(options.weights)
    local = is_local(path, options.weights, "**/*.safetensors")
    diffusers.utils.logging.disable_progress_bar()
    device = device_for(options.device, options.threads)
    dtype = options.dtype if options.dtype != "auto" else "bfloat16" if device == "cuda" else "float32"
    source = {"revision": options.revision, "variant": options.variant, "local_files_only": local}
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            path, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False, **source
        ).to(device)
    except Exception as error:  # a folder can be wrong in more ways than diffusers has errors for
        raise failure(error, f"{options.weights} cannot be loaded") from None
    pipeline.set_progress_bar_config(disable=True)
    return _engine(pipeline, options)


def _engine(pipeline: Any, options: DiffusersTextToImage.Options) -> _Engine:
    accepts = frozenset(inspect.signature(pipeline.__call__).parameters)
    if not {"prompt", "width", "height", "num_inference_steps"} <= accepts or "image" in accepts:
        raise ModelUnavailable(
            f"{options.weights} is a {type(pipeline).__name__}, which does not paint from a text alone"
        )
    factor = int(getattr(pipeline, "vae_scale_factor", 8))
    # Diffusers asks for eighths whatever the VAE; transformers take latent pixels in pairs on top of it.
    step = math.lcm(8, factor) * (2 if getattr(pipeline, "transformer", None) is not None else 1)
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    usual = getattr(getattr(network, "config", None), "sample_size", None)
    own = usual * factor if isinstance(usual, int) else getattr(pipeline, "default_sample_size", 64) * factor
    size = (options.width or own, options.height or own)
    if size[0] % step or size[1] % step:
        raise ModelUnavailable(f"{options.weights} paints multiples of {step} pixels; width and height are {size}")
    if options.upscale_to is not None and options.upscale_to % max(size):
        raise ModelUnavailable(f"upscale_to is {options.upscale_to}; it is a multiple of the painted side, {max(size)}")
    scale = options.upscale_to // max(size) if options.upscale_to else 1
    if max(size) * scale > options.max_side:
        raise ModelUnavailable(f"max_side is {options.max_side}, less than the usual {max(size) * scale}")
    return _Engine(pipeline, options, accepts, size, step, scale, _upscaler(options, scale))


def _upscaler(options: DiffusersTextToImage.Options, scale: int) -> Networks | None:
    if options.upscaler is None:
        return None
    networks = load(Swin2SR.Options.model_validate({"weights": options.upscaler, "device": options.device}))
    if scale not in networks.by_scale:
        raise ModelUnavailable(f"{options.upscaler} does not enlarge by {scale}, which upscale_to asks for")
    return networks
