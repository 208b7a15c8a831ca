"""The text in a picture."""

from pydantic import BaseModel

from deployments.capabilities import RecognizedText, TextRecognition
from deployments.media import Image
from serve_app.graph import graph


class ImageTextRequest(BaseModel):
    image: Image


@graph(title="Text in an image")
async def image_text(request: ImageTextRequest, reader: TextRecognition) -> RecognizedText:
    """Read every line of text in a picture, with its place."""
    return await reader.read(request.image)
