"""Removal of a picture's background."""

from pydantic import BaseModel, Field

from deployments.capabilities import ImageEnhancement
from deployments.media import Image
from serve_app.graph import graph


class ImageBackgroundRequest(BaseModel):
    image: Image = Field(description="A picture with one subject that stands out")


class ImageBackgroundResult(BaseModel):
    image: Image = Field(description="PNG in the picture's size, transparent except for the subject")


@graph(title="Remove a background")
async def image_background(request: ImageBackgroundRequest, remover: ImageEnhancement) -> ImageBackgroundResult:
    """Keep the subject of a picture and make the rest transparent."""
    return ImageBackgroundResult(image=await remover.remove_background(request.image))
