"""Generation of pictures from a prompt."""

import asyncio

from pydantic import BaseModel, Field

from deployments.capabilities import Language, TextToImage
from deployments.media import Image
from serve_app.graph import graph

from .prompt_enhancement import MAX_WISH, enhance, styled
from .prompt_fitting import fitting


class ImageGenerationRequest(BaseModel):
    prompt: str = Field(
        min_length=1, max_length=MAX_WISH, description="What to paint", examples=["a red circle on a blue background"]
    )
    negative_prompt: str | None = Field(
        default=None, max_length=MAX_WISH, description="What to keep out of the picture"
    )
    enhance: bool = Field(default=False, description="Let a language model expand the prompt first")
    style: str | None = Field(
        default=None, max_length=200, description="Style for `enhance`", examples=["oil painting"]
    )
    count: int = Field(default=1, ge=1, le=8, description="Number of pictures, which differ by their seeds")
    width: int | None = Field(default=None, ge=16, le=4096, description="Pixels; the model's default if absent")
    height: int | None = Field(default=None, ge=16, le=4096, description="Pixels; the model's default if absent")
    steps: int | None = Field(default=None, ge=1, le=200, description="Denoising steps")
    guidance: float | None = Field(
        default=None, ge=0, le=30, allow_inf_nan=False, description="How strictly to follow the prompt"
    )
    seed: int | None = Field(
        default=None, ge=0, lt=2**32, description="Seed of the first picture; the seeds of the others count up"
    )
    adapter: str | None = Field(default=None, max_length=64, description="Name of one of the model's adapters")
    references: list[Image] = Field(default=[], max_length=4, description="Pictures whose look to adopt")


class ImageGenerationResult(BaseModel):
    prompt: str = Field(description="The prompt that was painted")
    images: list[Image]


@graph(title="Image generation")
async def image_generation(
    request: ImageGenerationRequest, painter: TextToImage, writer: Language
) -> ImageGenerationResult:
    """Paint one or several pictures from a prompt."""
    prompts = [request.prompt]
    if request.enhance or request.style:
        prompts = [
            await enhance(request.prompt, request.style, writer, request.seed),
            styled(request.prompt, request.style),
        ]

    def seed_of(index: int) -> int | None:
        return None if request.seed is None else (request.seed + index) % 2**32

    async def paint(prompt: str) -> list[Image]:
        calls = (
            painter.generate(
                prompt,
                negative_prompt=request.negative_prompt,
                width=request.width,
                height=request.height,
                steps=request.steps,
                guidance=request.guidance,
                seed=seed_of(index),
                adapter=request.adapter,
                references=request.references or None,
            )
            for index in range(request.count)
        )
        return list(await asyncio.gather(*calls))

    prompt, images = await fitting(paint, *prompts)
    return ImageGenerationResult(prompt=prompt, images=images)
