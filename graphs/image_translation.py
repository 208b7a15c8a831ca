"""A picture of one kind turned into another."""

from pydantic import BaseModel, Field

from deployments.capabilities import ImageTranslation
from deployments.media import Image
from serve_app.graph import graph


class ImageTranslationRequest(BaseModel):
    image: Image
    direction: str | None = Field(
        default=None, max_length=80, description="What into what; the model's own by default", examples=["day-to-night"]
    )


class ImageTranslationResult(BaseModel):
    image: Image


@graph(title="Translate an image")
async def image_translation(request: ImageTranslationRequest, translator: ImageTranslation) -> ImageTranslationResult:
    """Turn day into night, a photograph into a drawing, or back."""
    return ImageTranslationResult(image=await translator.translate(request.image, direction=request.direction))
