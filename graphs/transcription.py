"""Speech to text."""

from collections.abc import AsyncIterator

from pydantic import BaseModel, Field

from deployments.capabilities import SpeechToText, Transcript
from deployments.media import Audio
from serve_app.graph import graph


class TranscriptionRequest(BaseModel):
    audio: Audio = Field(description="A recording of someone speaking")
    language: str | None = Field(default=None, max_length=35, description="BCP 47 tag, if known", examples=["en"])
    translate: bool = Field(default=False, description="Translate the transcript into English")
    word_times: bool = Field(default=False, description="Return when each word begins and ends")


@graph(title="Transcription")
async def transcription(request: TranscriptionRequest, ears: SpeechToText) -> AsyncIterator[Transcript]:
    """Transcribe a recording, stretch by stretch."""
    async for stretch in ears.stream(
        request.audio, language=request.language, translate=request.translate, word_times=request.word_times
    ):
        yield stretch
