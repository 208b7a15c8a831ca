"""Relighting of a picture."""

from pydantic import BaseModel, Field

from deployments.capabilities import Colour, Depth, Direction, ImageEnhancement
from deployments.media import Image
from serve_app.graph import graph


class ImageRelightRequest(BaseModel):
    image: Image
    depth: Image | None = Field(
        default=None, description="Depth of each pixel, as `image_depth` returns it; estimated if absent"
    )
    direction: Direction = Field(
        default=(-1, -1, 1),
        description="Direction to the light: [x, y, z], x to the right, y down, z towards the viewer",
    )
    colour: Colour = Field(default=(255, 255, 255), description="Colour of the light: [red, green, blue], 0 to 255")
    strength: float = Field(default=0.7, ge=0, le=1, allow_inf_nan=False, description="0 leaves the picture as it is")


class ImageRelightResult(BaseModel):
    image: Image
    depth: Image = Field(description="The depth that was used")


@graph(title="Relight an image")
async def image_relight(
    request: ImageRelightRequest, estimator: Depth, relighter: ImageEnhancement
) -> ImageRelightResult:
    """Light a picture from another direction, by its estimated depth."""
    depth = request.depth or await estimator.estimate(request.image)
    image = await relighter.relight(
        request.image, depth, direction=request.direction, colour=request.colour, strength=request.strength
    )
    return ImageRelightResult(image=image, depth=depth)
