"""Segmentation of one object in a picture."""

from pydantic import BaseModel, Field

from deployments.capabilities import Box, Point, Segmentation
from deployments.media import Image
from serve_app.graph import graph


class SmartMaskRequest(BaseModel):
    image: Image = Field(description="The picture")
    points: list[Point] | None = Field(
        default=None, max_length=100, description="Points on the object, [x, y] in pixels", examples=[[[120, 80]]]
    )
    background_points: list[Point] | None = Field(default=None, max_length=100, description="Points outside the object")
    boxes: list[Box] | None = Field(
        default=None, max_length=20, description="Boxes around the object, [left, top, right, bottom] in pixels"
    )
    mask: Image | None = Field(
        default=None, description="A rough mask in the picture's size: white where the object is"
    )


class SmartMaskResult(BaseModel):
    mask: Image = Field(description="PNG, 8-bit, in the picture's size: 255 where the object is")


@graph(title="Smart mask")
async def smart_mask(request: SmartMaskRequest, segmenter: Segmentation) -> SmartMaskResult:
    """Find the object that points, boxes or a rough mask indicate."""
    mask = await segmenter.segment(
        request.image,
        points=request.points,
        background_points=request.background_points,
        boxes=request.boxes,
        mask=request.mask,
    )
    return SmartMaskResult(mask=mask)
