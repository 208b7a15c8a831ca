"""What is missing in a picture, filled."""

from pydantic import BaseModel, Field

from deployments.capabilities import ImageReconstruction
from deployments.media import Image
from serve_app.graph import graph


class ImageReconstructRequest(BaseModel):
    image: Image
    mask: Image = Field(description="Of the picture's size: white where it is to be filled")


class ImageReconstructResult(BaseModel):
    image: Image


@graph(title="Reconstruct an image")
async def image_reconstruct(request: ImageReconstructRequest, restorer: ImageReconstruction) -> ImageReconstructResult:
    """Fill what a mask covers from what is around it."""
    return ImageReconstructResult(image=await restorer.reconstruct(request.image, request.mask))
