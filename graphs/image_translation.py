"""Translation of a picture into another domain."""

from pydantic import BaseModel, Field

from deployments.capabilities import ImageTranslation
from deployments.media import Image
from serve_app.graph import graph


class ImageTranslationRequest(BaseModel):
    image: Image
    direction: str | None = Field(
        default=None,
        max_length=80,
        description="From which domain to which; the model's default if absent",
        examples=["day-to-night"],
    )


class ImageTranslationResult(BaseModel):
    image: Image


@graph(title="Translate an image")
async def image_translation(request: ImageTranslationRequest, translator: ImageTranslation) -> ImageTranslationResult:
    """Translate a picture into another domain, such as day into night or a photograph into a drawing."""
    return ImageTranslationResult(image=await translator.translate(request.image, direction=request.direction))
