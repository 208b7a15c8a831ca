"""Text to speech by Hugging Face Inference: any text-to-speech model that the provider serves, each a voice."""

import threading
from typing import TYPE_CHECKING

from pydantic import Field

from .. import audio
from ..backend import Options as BackendOptions
from ..backend import in_thread
from ..bad_media import without_advice
from ..capabilities import AudioFormat, TextToSpeech, Voice
from ..errors import InvalidInput, ModelUnavailable
from ..hugging_face import HuggingFaceOptions, infer
from ..media import Audio
from ..remote_answers import MOST_MEDIA
from ..remote_http import Blame, Remote
from .arguments import checked

if TYPE_CHECKING:
    import numpy as np

RATE = 24_000  # Hz of what is delivered; models make 16 or 24 kHz
BLAME = Blame("text", {"inputs": "text"})


class HostedVoice(BackendOptions):
    """A voice and the model that speaks with it."""

    name: str = Field(min_length=1, max_length=80)
    language: str = Field(pattern=r"^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8})*$", description="BCP 47 tag")
    model: str | None = Field(description="Hub name; null for an endpoint")


class HuggingFaceTextToSpeech(Remote, TextToSpeech):
    """Text-to-speech models of the hub at Hugging Face Inference, or at an Inference Endpoint of one's own.

    Its protocol takes a text and nothing else, so a voice is a model (MMS has one a language), and the speed is made
    here: FFmpeg changes the tempo and keeps the pitch, which is heard beyond a half or the double. Delivered is mono at
    24 kHz. See https://huggingface.co/docs/inference-providers.
    """

    class Options(HuggingFaceOptions):
        """Which voices there are; the first is the one used when none is asked for."""

        voices: list[HostedVoice] = Field(
            [HostedVoice(name="en", language="en", model="facebook/mms-tts-eng")], min_length=1
        )

    async def synthesize(
        self, text: str, *, voice: str | None = None, speed: float | None = None, format: AudioFormat | None = None
    ) -> Audio:
        async with self._connected() as connection:
            text, speed, written = checked(text, speed, format)
            model = _model(connection.options.voices, voice)
            data = await infer(connection, model, text, {}, bytes, BLAME, accept="audio/flac", most=MOST_MEDIA)

            def finish(cancelled: threading.Event) -> Audio:
                samples = _samples(data, connection.host)
                if speed != 1:
                    samples = audio.at_tempo(samples, RATE, speed)
                return audio.encode(samples, RATE, written, cancelled)

            return await in_thread(finish)

    async def voices(self) -> list[Voice]:
        """Those that the profile names."""
        options = self._ready().options
        return [Voice(name=one.name, language=one.language, description=one.model or "") for one in options.voices]


def _model(voices: list[HostedVoice], voice: str | None) -> str | None:
    if voice is None:
        return voices[0].model
    for known in voices:
        if known.name == voice:
            return known.model
    raise InvalidInput("voice", f"is {voice[:80]!r}; one of {', '.join(known.name for known in voices)}")


def _samples(data: bytes, host: str) -> "np.ndarray":
    """int16, shape (n,), at `RATE`."""
    try:
        return audio.decode(Audio(data, "audio/*"), RATE, dtype="int16")
    except InvalidInput as error:
        raise ModelUnavailable(
            f"{host} sent speech that cannot be decoded: it {without_advice(error.detail)}"
        ) from None
