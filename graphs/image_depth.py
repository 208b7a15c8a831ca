"""Depth estimation of a picture."""

from pydantic import BaseModel, Field

from deployments.capabilities import Depth
from deployments.media import Image
from serve_app.graph import graph


class ImageDepthRequest(BaseModel):
    image: Image


class ImageDepthResult(BaseModel):
    depth: Image = Field(
        description="PNG, 16-bit grey, in the picture's size: the nearest point is white, the farthest black"
    )


@graph(title="Depth of an image")
async def image_depth(request: ImageDepthRequest, estimator: Depth) -> ImageDepthResult:
    """Estimate the relative depth of each pixel from one picture."""
    return ImageDepthResult(depth=await estimator.estimate(request.image))
