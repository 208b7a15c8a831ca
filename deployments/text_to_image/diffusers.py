"""Text to image by Hugging Face diffusers: any text-to-image pipeline in safetensors, on a CPU or one GPU."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from .. import pixels
from ..backend import Backend, Needs, in_thread
from ..backend import Options as BackendOptions
from ..batching import Batches, Call
from ..capabilities import TextToImage
from ..errors import ModelUnavailable
from ..loads import Loads
from ..media import Image
from .additions import Adapter, Quantization, ReferenceAdapter
from .checks import MOST_GUIDANCE
from .painting import Work, beside, over, paint, painted_side, strength_of, within, work_of
from .pipelines import Engine, Saving, load


class DiffusersTextToImage(Backend, TextToImage):
    """A text-to-image pipeline of diffusers (https://github.com/huggingface/diffusers): Stable Diffusion and the like.

    Takes a folder or a hub name in diffusers' layout with safetensors; never pickles and never code that comes with
    weights. The same seed and arguments give the same picture on the same kind of machine. Calls that wait at the same
    time and differ in their texts, pictures and seeds only are painted together, up to `max_batch`, which takes less
    time; rounding may then change a pixel by a level or two. Sides are multiples of what the pipeline's VAE takes. It
    edits, inpaints and varies where the pipeline's family can, with the same weights: the picture is brought to the
    painted size and the result back to the picture's. It does not check what it painted. A
    prompt that none of its text encoders reads to its end is refused, where it is known how much they read.

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
        savings: list[Saving] = Field([], description="Less memory for more time: see the names in pipelines.py")
        quantization: Quantization | None = Field(None, description="The network that denoises, in smaller numbers")
        adapters: dict[str, Adapter] = Field({}, description="LoRA adapters by the name that callers use")
        references: ReferenceAdapter | None = Field(None, description="An IP-Adapter, which looks at pictures")
        steps: int = Field(20, ge=1, le=1000)
        max_steps: int = Field(100, ge=1, le=1000)
        guidance: float = Field(7.5, ge=0, le=MOST_GUIDANCE)
        avoidance: float = Field(
            2.0, gt=1, le=MOST_GUIDANCE, description="With a negative prompt, of weights that need none (FLUX)"
        )
        strength: float = Field(0.8, gt=0, le=1, description="How much an edit may change")
        variation: float = Field(0.5, gt=0, le=1, description="How much a variation differs")
        max_batch: int = Field(8, ge=1, le=64, description="Pictures painted together; fewer once they did not fit")
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
        upscaler: Annotated[str | None, Loads("upscaler_revision")] = Field(
            None, description="Folder, `starter/NAME` or hub name of a Swin2SR that enlarges by as much"
        )
        upscaler_revision: str | None = Field(None, description="Commit, tag or branch of that; pin a commit")

    needs: ClassVar[Needs] = Needs(cpus=1, concurrency=16)  # a batch at work and one waiting
    tells_progress: ClassVar[bool] = True

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._batches = Batches(_together, most=1)

    async def reconfigure(self, options: Options) -> None:
        """Load another pipeline beside the old one, then change over.

        Raises:
            ModelUnavailable: the weights are missing, damaged, pickled or not a text-to-image pipeline, or the options'
                sizes do not suit it.
            OutOfMemory: both do not fit in memory at once.
        """
        self._engine = await in_thread(lambda cancelled: load(options))
        self._batches = Batches(_together, options.max_batch)

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
        adapter: str | None = None,
        references: list[Image] | None = None,
    ) -> Image:
        engine = self._ready()
        wide, high = painted_side(engine, "width", width), painted_side(engine, "height", height)
        more: dict[str, Any] = {"adapter": adapter, "width": wide, "height": high}
        work = work_of(engine, "generate", prompt, negative_prompt, steps, guidance, seed, **more)
        if references:
            work = await asyncio.to_thread(beside, work, references)
        return await self._painted(work)

    async def edit(
        self,
        image: Image,
        prompt: str,
        *,
        strength: float | None = None,
        negative_prompt: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
        adapter: str | None = None,
        references: list[Image] | None = None,
    ) -> Image:
        """Noise is laid over the picture, more with more `strength`, and taken away again as `prompt` says."""
        engine = self._ready()
        more: dict[str, Any] = {"adapter": adapter, **strength_of(engine, "edit", strength, engine.options.strength)}
        work = work_of(engine, "edit", prompt, negative_prompt, steps, guidance, seed, **more)
        return await self._painted(await asyncio.to_thread(lambda: over(beside(work, references), image)))

    async def inpaint(
        self,
        image: Image,
        mask: Image,
        prompt: str,
        *,
        strength: float | None = None,
        negative_prompt: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
        adapter: str | None = None,
        references: list[Image] | None = None,
    ) -> Image:
        """A mask counts as white from half brightness on. Without `strength` nothing of what it covers is kept."""
        engine = self._ready()
        more: dict[str, Any] = {"adapter": adapter, **strength_of(engine, "inpaint", strength, 1.0)}
        work = work_of(engine, "inpaint", prompt, negative_prompt, steps, guidance, seed, **more)
        return await self._painted(await asyncio.to_thread(lambda: within(beside(work, references), image, mask)))

    async def vary(
        self,
        image: Image,
        *,
        prompt: str | None = None,
        strength: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int | None = None,
    ) -> Image:
        """An edit that keeps more of the picture; without a prompt the weights alone decide what it becomes."""
        engine = self._ready()
        more: dict[str, Any] = strength_of(engine, "edit", strength, engine.options.variation)
        work = work_of(engine, "edit", prompt or "", None, steps, guidance, seed, may_be_empty=True, **more)
        return await self._painted(await asyncio.to_thread(over, work, image))

    async def _painted(self, work: Work) -> Image:
        image = await self._batches.answer(work, work.kind)
        assert image is not None  # as it is for those who have gone
        return image

    def _ready(self) -> Engine:
        if self._engine is None:
            raise ModelUnavailable("the text-to-image model is not loaded yet")
        return self._engine


async def _together(calls: Sequence[Call[Work, Image | None]]) -> list[Image | None]:
    works, gone = [call.item for call in calls], [call.cancelled for call in calls]
    return await in_thread(lambda cancelled: paint(works, gone))
