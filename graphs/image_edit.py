"""Changes of pictures by a text: the whole picture, the area of a mask, or a variation."""

from pydantic import BaseModel, Field

from deployments.capabilities import TextToImage
from deployments.media import Image
from serve_app.graph import graph

from .prompt_enhancement import MAX_WISH


class Painting(BaseModel):
    """The fields that every change of a picture has."""

    image: Image
    strength: float | None = Field(
        default=None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="How much may change, above 0 to 1; the model's default if absent",
    )
    steps: int | None = Field(
        default=None, ge=1, le=200, description="Denoising steps, of which the fraction `strength` is run"
    )
    guidance: float | None = Field(
        default=None, ge=0, le=30, allow_inf_nan=False, description="How strictly to follow the prompt"
    )
    seed: int | None = Field(default=None, ge=0, lt=2**32, description="The same seed gives the same picture")


class ImageEditRequest(Painting):
    prompt: str = Field(min_length=1, max_length=MAX_WISH, description="What the picture should show")
    negative_prompt: str | None = Field(
        default=None, max_length=MAX_WISH, description="What to keep out of the picture"
    )
    adapter: str | None = Field(default=None, max_length=64, description="Name of one of the model's adapters")
    references: list[Image] = Field(
        default=[], max_length=4, description="Pictures whose look to adopt, such as a style to paint in"
    )


class ImageInpaintRequest(ImageEditRequest):
    mask: Image = Field(description="In the picture's size: white where to paint")


class ImageVaryRequest(Painting):
    prompt: str | None = Field(default=None, max_length=MAX_WISH, description="What the picture shows, to preserve it")


class ImageEditResult(BaseModel):
    image: Image = Field(description="In the picture's size")


@graph(title="Edit an image")
async def image_edit(request: ImageEditRequest, painter: TextToImage) -> ImageEditResult:
    """Repaint a picture by a prompt; less strength keeps more of the picture."""
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
    """Paint the area of a mask; every other pixel stays as it is."""
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
    """Paint another picture like a given one."""
    image = await painter.vary(
        request.image,
        prompt=request.prompt,
        strength=request.strength,
        steps=request.steps,
        guidance=request.guidance,
        seed=request.seed,
    )
    return ImageEditResult(image=image)
