"""Reconstruction of missing parts of a picture."""

from pydantic import BaseModel, Field

from deployments.capabilities import ImageReconstruction
from deployments.media import Image
from serve_app.graph import graph


class ImageReconstructRequest(BaseModel):
    image: Image
    mask: Image = Field(description="In the picture's size: white where to fill")


class ImageReconstructResult(BaseModel):
    image: Image


@graph(title="Reconstruct an image")
async def image_reconstruct(request: ImageReconstructRequest, restorer: ImageReconstruction) -> ImageReconstructResult:
    """Fill the area of a mask from its surroundings."""
    return ImageReconstructResult(image=await restorer.reconstruct(request.image, request.mask))
