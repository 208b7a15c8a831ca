"""Where somebody speaks in a recording."""

from pydantic import BaseModel

from deployments.capabilities import SpokenTimes, VoiceActivity
from deployments.media import Audio
from serve_app.graph import graph


class VoiceActivityRequest(BaseModel):
    audio: Audio


@graph(title="Voice activity")
async def voice_activity(request: VoiceActivityRequest, detector: VoiceActivity) -> SpokenTimes:
    """Find when somebody speaks in a recording, and when nobody does."""
    return await detector.detect(request.audio)
