"""Style transfer between pictures."""

from pydantic import BaseModel, Field

from deployments.capabilities import ImageEnhancement
from deployments.media import Image
from serve_app.graph import graph


class ImageStylizeRequest(BaseModel):
    image: Image
    style: Image = Field(description="A picture that has the style to adopt")
    strength: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False, description="0 leaves the picture as it is")


class ImageStylizeResult(BaseModel):
    image: Image


@graph(title="Stylize an image")
async def image_stylize(request: ImageStylizeRequest, stylist: ImageEnhancement) -> ImageStylizeResult:
    """Give a picture the palette and contrast of another. (For brush strokes, use `image_edit` with `references`.)"""
    return ImageStylizeResult(image=await stylist.stylize(request.image, request.style, strength=request.strength))
