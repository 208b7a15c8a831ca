"""A spoken wish becomes a picture."""

from pydantic import BaseModel, Field

from deployments.capabilities import Language, SpeechToText, TextToImage
from deployments.errors import InvalidInput
from deployments.media import Audio, Image
from serve_app.graph import graph

from .prompt_enhancement import MAX_WISH, enhance, styled
from .prompt_fitting import fitting


class SpeechToImageRequest(BaseModel):
    audio: Audio = Field(description="What to paint, spoken")
    style: str | None = Field(default=None, max_length=200, description="How it should look", examples=["watercolour"])
    seed: int | None = Field(default=None, ge=0, lt=2**32, description="The same seed gives the same picture")


class SpeechToImageResult(BaseModel):
    transcript: str = Field(description="What was heard")
    prompt: str = Field(description="What was painted")
    image: Image


@graph(title="Speech to image")
async def speech_to_image(
    request: SpeechToImageRequest, ears: SpeechToText, writer: Language, painter: TextToImage
) -> SpeechToImageResult:
    """Hear a wish, expand it into a prompt, and paint it."""
    heard = (await ears.transcribe(request.audio)).text.strip()
    if not heard:
        raise InvalidInput("audio", "nothing was understood in this recording")
    wish = heard[:MAX_WISH]
    prompt, image = await fitting(
        lambda prompt: painter.generate(prompt, seed=request.seed),
        await enhance(wish, request.style, writer, request.seed),
        styled(wish, request.style),
        field="audio",
    )
    return SpeechToImageResult(transcript=heard, prompt=prompt, image=image)
