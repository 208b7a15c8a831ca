"""Spoken answers to spoken questions."""

from pydantic import BaseModel, Field

from deployments.capabilities import AudioFormat, Language, Message, SpeechToText, TextToSpeech
from deployments.errors import InvalidInput
from deployments.media import Audio
from serve_app.graph import graph


class VoiceAssistantRequest(BaseModel):
    audio: Audio = Field(description="A recording of the question")
    history: list[Message] = Field(
        default=[], max_length=100, description="The conversation so far, oldest message first"
    )
    voice: str | None = Field(default=None, max_length=100, description="Voice of the answer", examples=["en-gb"])
    format: AudioFormat = Field(default="wav", description="Format of the answer")


class VoiceAssistantResult(BaseModel):
    transcript: str = Field(description="The transcript of the question")
    reply: str = Field(description="The answer as text")
    audio: Audio = Field(description="The answer, spoken")


@graph(title="Voice assistant", auto=("writer",))
async def voice_assistant(
    request: VoiceAssistantRequest, ears: SpeechToText, writer: Language, voice: TextToSpeech
) -> VoiceAssistantResult:
    """Transcribe a question, answer it, and speak the answer."""
    transcript = (await ears.transcribe(request.audio)).text.strip()
    if not transcript:
        raise InvalidInput("audio", "has no speech that was understood")
    reply = await writer.chat([*request.history, Message(role="user", content=transcript)], max_tokens=200)
    audio = await voice.synthesize(reply.text[:4096] or "I have no answer.", voice=request.voice, format=request.format)
    return VoiceAssistantResult(transcript=transcript, reply=reply.text, audio=audio)
