"""Enlargement of a picture, with added detail."""

from typing import Literal

from pydantic import BaseModel, Field

from deployments.capabilities import ImageEnhancement
from deployments.media import Image
from serve_app.graph import graph


class ImageUpscaleRequest(BaseModel):
    image: Image
    scale: Literal[2, 4] = Field(default=2, description="Factor of the width and height")


class ImageUpscaleResult(BaseModel):
    image: Image


@graph(title="Upscale an image")
async def image_upscale(request: ImageUpscaleRequest, upscaler: ImageEnhancement) -> ImageUpscaleResult:
    """Enlarge a picture by a factor of 2 or 4."""
    return ImageUpscaleResult(image=await upscaler.upscale(request.image, scale=request.scale))
