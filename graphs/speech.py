"""Text to speech."""

from pydantic import BaseModel, Field

from deployments.capabilities import AudioFormat, TextToSpeech
from deployments.media import Audio
from serve_app.graph import graph


class SpeechRequest(BaseModel):
    text: str = Field(min_length=1, max_length=4096, description="What to say", examples=["Hello, I am Medley."])
    voice: str | None = Field(default=None, max_length=100, description="Name of a voice", examples=["en-gb"])
    speed: float | None = Field(
        default=None, ge=0.25, le=4, allow_inf_nan=False, description="1 is the voice's own speed"
    )
    format: AudioFormat = Field(default="wav", description="`pcm` is 16 bit, 24 kHz, mono, without a header")


class SpeechResult(BaseModel):
    audio: Audio


@graph(title="Speech")
async def speech(request: SpeechRequest, voice: TextToSpeech) -> SpeechResult:
    """Speak a text."""
    audio = await voice.synthesize(request.text, voice=request.voice, speed=request.speed, format=request.format)
    return SpeechResult(audio=audio)
