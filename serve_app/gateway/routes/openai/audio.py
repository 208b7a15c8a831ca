"""Recordings transcribed and texts spoken."""

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from deployments.capabilities import AudioFormat, SpeechToText, TextToSpeech, Transcript
from deployments.errors import MedleyError
from deployments.media import Audio
from graphs.speech import speech
from graphs.transcription import transcription

from ....config.schema import AUTO
from ....run import Run
from ...error_responses import openai_error
from .shared import DEFAULT_MODEL, body_of, chain, event, form_body, json_body, names, prepare
from .subtitles import srt, vtt

if TYPE_CHECKING:
    from ...service import Service


class Translation(BaseModel):
    file: bytes
    model: str = DEFAULT_MODEL
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = "json"


class Transcription(Translation):
    language: str | None = None
    timestamp_granularities: list[Literal["word", "segment"]] = Field(default=["segment"], max_length=2)
    stream: bool = False


class SpeechCreation(BaseModel):
    model: str = DEFAULT_MODEL
    input: str
    voice: str | None = None
    response_format: AudioFormat = "mp3"
    speed: float | None = None
    stream_format: Literal["audio", "sse"] | None = None


OURS = {"text": "input", "format": "response_format"}  # our fields in OpenAI's words


def add(routes: APIRouter, service: "Service") -> None:
    @routes.post(
        "/audio/transcriptions", summary="Transcribe audio", openapi_extra=body_of(Transcription, "multipart/form-data")
    )
    async def audio_transcriptions(request: Request) -> Response:
        asked = await form_body(request, Transcription, "recording as `file`")
        with names({"audio": "file"}):
            words = "word" in asked.timestamp_granularities
            fields = {"audio": asked.file, "language": asked.language, "word_times": words}
            run, call = await prepare(service, transcription, "ears", asked.model, **fields)
            if asked.stream:
                pieces = service.models.able(_named(asked.model), SpeechToText, "stream")
                events = _events(run, call, pieces)
                first = await anext(events)  # an error before anything is heard still has its own status
                return StreamingResponse(chain(first, events), media_type="text/event-stream")
            return _transcript(await run.execute(transcription, call), asked.response_format, "transcribe")

    @routes.post(
        "/audio/translations", summary="Translate audio", openapi_extra=body_of(Translation, "multipart/form-data")
    )
    async def audio_translations(request: Request) -> Response:
        """What is said, in English."""
        asked = await form_body(request, Translation, "recording as `file`")
        with names({"audio": "file"}):
            fields = {"audio": asked.file, "translate": True}
            run, call = await prepare(service, transcription, "ears", asked.model, **fields)
            return _transcript(await run.execute(transcription, call), asked.response_format, "translate")

    @routes.post("/audio/speech", summary="Create speech", openapi_extra=body_of(SpeechCreation))
    async def audio_speech(request: Request) -> Response:
        """The file as it is spoken where the model can, and no WAV unless `stream_format` asks for it: the header of a
        WAV says its length. With `stream_format` `sse`, events with pieces of the file in base64."""
        asked = await json_body(request, SpeechCreation)
        with names(OURS):
            fields = {"text": asked.input, "voice": asked.voice, "speed": asked.speed, "format": asked.response_format}
            run, call = await prepare(service, speech, "voice", asked.model, **fields)
            pieces = service.models.able(_named(asked.model), TextToSpeech, "stream")
            if asked.stream_format is None and (asked.response_format == "wav" or not pieces):
                audio = (await run.execute(speech, call)).audio
                return Response(audio.data, media_type=audio.media_type)
            spoken = _spoken(run, call, pieces)
            first = await anext(spoken)  # an error before anything is said still has its own status
        if asked.stream_format == "sse":
            return StreamingResponse(_speech_events(first, spoken), media_type="text/event-stream")
        return StreamingResponse(_bytes(first, spoken), media_type=first.media_type)


async def _spoken(run: Run, call: Any, pieces: bool) -> AsyncIterator[Audio]:
    """The file in pieces where a model can, else whole."""
    if not pieces:
        yield (await run.execute(speech, call)).audio
        return
    voice = run.model("voice", TextToSpeech)
    async with aclosing(voice.stream(call.text, voice=call.voice, speed=call.speed, format=call.format)) as spoken:
        async for piece in spoken:
            yield piece


async def _bytes(first: Audio, rest: AsyncIterator[Audio]) -> AsyncIterator[bytes]:
    """The pieces of a file; it breaks off at an error, which no place is left for."""
    yield first.data
    async for piece in rest:
        yield piece.data


async def _speech_events(first: Audio, rest: AsyncIterator[Audio]) -> AsyncIterator[str]:
    try:
        async for data in _bytes(first, rest):
            yield event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})
        yield event({"type": "speech.audio.done"})
    except MedleyError as error:
        yield event(openai_error(error)[1])


def _named(model: str) -> str | None:
    """The model that is asked for by its name, if one is."""
    return None if model in (DEFAULT_MODEL, AUTO) else model


async def _events(run: Run, call: Any, pieces: bool) -> AsyncIterator[str]:
    """What is heard, stretch by stretch where a model can, then all of it; an error after the first is an event too."""
    texts = list[str]()
    try:
        if pieces:
            ears = run.model("ears", SpeechToText)
            async for segment in ears.stream(call.audio, language=call.language):
                delta = f" {segment.text}" if texts else segment.text
                texts.append(segment.text)
                yield event({"type": "transcript.text.delta", "delta": delta})
        else:
            texts = [(await run.execute(transcription, call)).text]
            yield event({"type": "transcript.text.delta", "delta": texts[0]})
        yield event({"type": "transcript.text.done", "text": " ".join(texts)})
    except MedleyError as error:
        if not texts:
            raise
        yield event(openai_error(error)[1])


def _transcript(transcript: Transcript, form: str, task: str) -> Response:
    if form == "json":
        return JSONResponse({"text": transcript.text})
    if form == "verbose_json":
        segments = [
            {"id": index, **segment.model_dump(exclude={"words"})} for index, segment in enumerate(transcript.segments)
        ]
        words = [
            {"word": word.text, "start": word.start, "end": word.end}
            for segment in transcript.segments
            for word in segment.words
        ]
        body = {"task": task, "language": transcript.language, "duration": transcript.seconds}
        body |= {"text": transcript.text, "segments": segments}
        return JSONResponse({**body, "words": words} if words else body)
    if form == "text":
        return PlainTextResponse(transcript.text + "\n")
    if form == "srt":
        return PlainTextResponse(srt(transcript.segments), media_type="application/x-subrip")
    return PlainTextResponse(vtt(transcript.segments), media_type="text/vtt")
