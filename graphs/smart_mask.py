"""The outline of a thing in a picture."""

from pydantic import BaseModel, Field

from deployments.capabilities import Box, Point, Segmentation
from deployments.media import Image
from serve_app.graph import graph


class SmartMaskRequest(BaseModel):
    image: Image = Field(description="The picture")
    points: list[Point] | None = Field(
        default=None, max_length=100, description="Points on the thing, [x, y] in pixels", examples=[[[120, 80]]]
    )
    background_points: list[Point] | None = Field(
        default=None, max_length=100, description="Points that are not the thing"
    )
    boxes: list[Box] | None = Field(
        default=None, max_length=20, description="[left, top, right, bottom] in pixels around it"
    )
    mask: Image | None = Field(default=None, description="A rough mask of the picture's size: white where the thing is")


class SmartMaskResult(BaseModel):
    mask: Image = Field(description="PNG, 8 bit, of the picture's size: 255 where the thing is")


@graph(title="Smart mask")
async def smart_mask(request: SmartMaskRequest, segmenter: Segmentation) -> SmartMaskResult:
    """Find what points, boxes or a rough mask show."""
    mask = await segmenter.segment(
        request.image,
        points=request.points,
        background_points=request.background_points,
        boxes=request.boxes,
        mask=request.mask,
    )
    return SmartMaskResult(mask=mask)
