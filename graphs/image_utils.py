"""The image tools, one graph per operation: `image_resize`, `image_crop`, `image_encode`, `image_extract_object` and
`image_canny`."""

from typing import Literal

from pydantic import BaseModel, Field

from deployments.capabilities import Box, ImageFormat, ImageTools
from deployments.media import Image
from serve_app.graph import graph


class ImageResult(BaseModel):
    image: Image


class ImageResizeRequest(BaseModel):
    image: Image
    width: int | None = Field(default=None, ge=1, le=8192, description="Pixels", examples=[320])
    height: int | None = Field(default=None, ge=1, le=8192, description="Pixels")
    fit: Literal["contain", "cover", "stretch"] = Field(
        default="contain",
        description="With another aspect ratio, `contain` fits inside, `cover` crops, `stretch` distorts",
    )


class ImageCropRequest(BaseModel):
    image: Image
    box: Box = Field(description="[left, top, right, bottom] in pixels", examples=[[10, 10, 110, 110]])


class ImageEncodeRequest(BaseModel):
    image: Image
    format: ImageFormat = "png"
    quality: int = Field(default=90, ge=1, le=100, description="Quality of JPEG and WebP")


class ImageExtractObjectRequest(BaseModel):
    image: Image
    mask: Image = Field(description="In the picture's size: white where the object is")
    padding: int = Field(default=0, ge=0, le=4096, description="Pixels to keep around the object")


class ImageCannyRequest(BaseModel):
    image: Image
    low: float = Field(default=100, ge=0, le=1000, allow_inf_nan=False, description="Lower threshold")
    high: float = Field(default=200, ge=0, le=1000, allow_inf_nan=False, description="Upper threshold")


@graph(title="Resize an image")
async def image_resize(request: ImageResizeRequest, tools: ImageTools) -> ImageResult:
    """Resize a picture; with only one side set, the other follows from the aspect ratio."""
    image = await tools.resize(request.image, width=request.width, height=request.height, fit=request.fit)
    return ImageResult(image=image)


@graph(title="Crop an image")
async def image_crop(request: ImageCropRequest, tools: ImageTools) -> ImageResult:
    """Crop a picture to a box."""
    return ImageResult(image=await tools.crop(request.image, request.box))


@graph(title="Encode an image")
async def image_encode(request: ImageEncodeRequest, tools: ImageTools) -> ImageResult:
    """Encode a picture as PNG, JPEG or WebP."""
    return ImageResult(image=await tools.encode(request.image, format=request.format, quality=request.quality))


@graph(title="Extract an object")
async def image_extract_object(request: ImageExtractObjectRequest, tools: ImageTools) -> ImageResult:
    """Cut out the area of a mask, on a transparent background."""
    return ImageResult(image=await tools.extract_object(request.image, request.mask, padding=request.padding))


@graph(title="Edges of an image")
async def image_canny(request: ImageCannyRequest, tools: ImageTools) -> ImageResult:
    """Find edges by Canny's method, white on black."""
    return ImageResult(image=await tools.canny(request.image, low=request.low, high=request.high))
