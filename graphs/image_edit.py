"""Pictures changed as a text says: the whole, what a mask covers, or only a little."""

from pydantic import BaseModel, Field

from deployments.capabilities import TextToImage
from deployments.media import Image
from serve_app.graph import graph

from .prompt_enhancement import MAX_WISH


class Painting(BaseModel):
    """What every change of a picture takes."""

    image: Image
    strength: float | None = Field(
        default=None, gt=0, le=1, allow_inf_nan=False, description="How much may change; the model's own if not given"
    )
    steps: int | None = Field(
        default=None, ge=1, le=200, description="Denoising steps, of which `strength` are painted"
    )
    guidance: float | None = Field(
        default=None, ge=0, le=30, allow_inf_nan=False, description="How strictly to follow the prompt"
    )
    seed: int | None = Field(default=None, ge=0, lt=2**32, description="The same seed gives the same picture")


class ImageEditRequest(Painting):
    prompt: str = Field(min_length=1, max_length=MAX_WISH, description="What the picture is to show")
    negative_prompt: str | None = Field(default=None, max_length=MAX_WISH, description="What to keep out of it")
    adapter: str | None = Field(default=None, max_length=64, description="Name of an adapter the model was given")
    references: list[Image] = Field(
        default=[], max_length=4, description="Pictures whose look it takes, such as a style to paint in"
    )


class ImageInpaintRequest(ImageEditRequest):
    mask: Image = Field(description="Of the picture's size: white where it is to be painted")


class ImageVaryRequest(Painting):
    prompt: str | None = Field(default=None, max_length=MAX_WISH, description="What the picture shows, to keep it so")


class ImageEditResult(BaseModel):
    image: Image = Field(description="Of the picture's size")


@graph(title="Edit an image")
async def image_edit(request: ImageEditRequest, painter: TextToImage) -> ImageEditResult:
    """Paint a picture anew as a prompt says, keeping more of it with less strength."""
    image = await painter.edit(
        request.image,
        request.prompt,
        strength=request.strength,
        negative_prompt=request.negative_prompt,
        steps=request.steps,
        guidance=request.guidance,
        seed=request.seed,
        adapter=request.adapter,
        references=request.references or None,
    )
    return ImageEditResult(image=image)


@graph(title="Inpaint an image")
async def image_inpaint(request: ImageInpaintRequest, painter: TextToImage) -> ImageEditResult:
    """Paint what a mask covers; every other pixel stays as it is."""
    image = await painter.inpaint(
        request.image,
        request.mask,
        request.prompt,
        strength=request.strength,
        negative_prompt=request.negative_prompt,
        steps=request.steps,
        guidance=request.guidance,
        seed=request.seed,
        adapter=request.adapter,
        references=request.references or None,
    )
    return ImageEditResult(image=image)


@graph(title="Vary an image")
async def image_vary(request: ImageVaryRequest, painter: TextToImage) -> ImageEditResult:
    """Another picture like this one."""
    image = await painter.vary(
        request.image,
        prompt=request.prompt,
        strength=request.strength,
        steps=request.steps,
        guidance=request.guidance,
        seed=request.seed,
    )
    return ImageEditResult(image=image)
