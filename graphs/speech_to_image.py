"""Pictures from a spoken wish."""

from pydantic import BaseModel, Field

from deployments.capabilities import Language, SpeechToText, TextToImage
from deployments.errors import InvalidInput
from deployments.media import Audio, Image
from serve_app.graph import graph

from .prompt_enhancement import MAX_WISH, enhance, styled
from .prompt_fitting import fitting


class SpeechToImageRequest(BaseModel):
    audio: Audio = Field(description="A recording of what to paint")
    style: str | None = Field(default=None, max_length=200, description="How it should look", examples=["watercolour"])
    seed: int | None = Field(default=None, ge=0, lt=2**32, description="The same seed gives the same picture")


class SpeechToImageResult(BaseModel):
    transcript: str = Field(description="The transcript of the recording")
    prompt: str = Field(description="The prompt that was painted")
    image: Image


@graph(title="Speech to image")
async def speech_to_image(
    request: SpeechToImageRequest, ears: SpeechToText, writer: Language, painter: TextToImage
) -> SpeechToImageResult:
    """Transcribe a spoken wish, expand it into a prompt, and paint it."""
    transcript = (await ears.transcribe(request.audio)).text.strip()
    if not transcript:
        raise InvalidInput("audio", "has no speech that was understood")
    wish = transcript[:MAX_WISH]
    prompt, image = await fitting(
        lambda prompt: painter.generate(prompt, seed=request.seed),
        await enhance(wish, request.style, writer, request.seed),
        styled(wish, request.style),
        field="audio",
    )
    return SpeechToImageResult(transcript=transcript, prompt=prompt, image=image)
