"""Text to speech."""

from collections.abc import AsyncIterator, Sequence
from typing import Self

from pydantic import BaseModel, Field

from deployments.capabilities import AudioFormat, TextToSpeech
from deployments.errors import InvalidInput
from deployments.media import Audio
from serve_app.graph import graph


class SpeechRequest(BaseModel):
    text: str = Field(min_length=1, max_length=4096, description="What to say", examples=["Hello, I am Medley."])
    voice: str | None = Field(default=None, max_length=100, description="Name of a voice", examples=["en-gb"])
    reference: Audio | None = Field(default=None, description="A recording whose voice to use, instead of `voice`")
    language: str | None = Field(
        default=None,
        max_length=35,
        description="Language of the text, a BCP 47 tag; only with `reference`",
        examples=["en"],
    )
    speed: float | None = Field(
        default=None, ge=0.25, le=4, allow_inf_nan=False, description="Speed; 1 is the voice's own"
    )
    format: AudioFormat = Field(
        default="wav", description="Format of the audio; `pcm` is 16-bit, 24 kHz, mono, without a header"
    )


class SpeechResult(BaseModel):
    audio: Audio


class SpeechPiece(BaseModel):
    """A piece of the file; its bytes follow the bytes of the piece before."""

    audio: Audio

    @classmethod
    def join(cls, pieces: Sequence[Self]) -> SpeechResult:
        """The whole file.

        Raises:
            ModelUnavailable: there are no pieces.
        """
        return SpeechResult(audio=Audio.join([piece.audio for piece in pieces]))


@graph(title="Speech")
async def speech(request: SpeechRequest, voice: TextToSpeech) -> AsyncIterator[SpeechPiece]:
    """Speak a text, with a voice of the model or, if the model can clone, with the voice of a recording."""
    if request.reference is None and request.language is not None:
        raise InvalidInput("language", "is only valid with a reference: a voice has its own language")
    if request.reference is not None:
        if request.voice is not None:
            raise InvalidInput("voice", "cannot be combined with reference: send one of them")
        audio = await voice.clone(
            request.text, request.reference, language=request.language, speed=request.speed, format=request.format
        )
        yield SpeechPiece(audio=audio)
        return
    async for audio in voice.stream(request.text, voice=request.voice, speed=request.speed, format=request.format):
        yield SpeechPiece(audio=audio)
