"""Segmentation of every object in a picture."""

from pydantic import BaseModel, Field

from deployments.capabilities import Segmentation
from deployments.media import Image
from serve_app.graph import graph


class ImageSegmentsRequest(BaseModel):
    image: Image
    limit: int = Field(default=20, ge=1, le=200, description="Maximum number of masks; the most certain come first")


class ImageSegmentsResult(BaseModel):
    masks: list[Image] = Field(description="PNG, 8-bit, in the picture's size: 255 where the object is")


@graph(title="Segment everything")
async def image_segments(request: ImageSegmentsRequest, segmenter: Segmentation) -> ImageSegmentsResult:
    """Find every object in a picture, with a model that can (SAM 2)."""
    return ImageSegmentsResult(masks=await segmenter.everything(request.image, limit=request.limit))
