"""OpenAI's audio routes: transcription, translation and speech."""

import base64
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from deployments.capabilities import AudioFormat, Segment, Transcript
from deployments.errors import MedleyError
from deployments.media import Audio

from ....config.schema import DEFAULT
from ...error_responses import openai_error
from ...json_body import read_json
from ...openapi_parts import BINARY, JSON, SSE, TEXT, answer_in, ref
from ...server_sent_events import begun
from ...service import Service
from ...sync_run import SyncRun
from .shared import FORM, OpenAIBody, body_event, described, form_body, names, prepare
from .subtitles import srt, vtt


class Translation(OpenAIBody):
    file: bytes
    model: str = DEFAULT
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = "json"
    prompt: Literal[""] = Field("", description="Models here take no text that came before")
    temperature: Literal[0] = Field(0, description="Nothing is drawn: the same recording gives the same transcript")


class Transcription(Translation):
    language: str | None = None
    timestamp_granularities: list[Literal["word", "segment"]] = Field(default=["segment"], max_length=2)
    stream: bool = False
    chunking_strategy: Literal["auto"] = Field("auto", description="Each model cuts a recording as it needs")


class SpeechCreation(OpenAIBody):
    model: str = DEFAULT
    input: str
    voice: str | None = None
    response_format: AudioFormat = "mp3"
    speed: float | None = None
    stream_format: Literal["audio", "sse"] | None = None


# OpenAI's names of the graphs' fields
TRANSCRIPTION_NAMES = {"audio": "file", "word_times": "timestamp_granularities"}
SPEECH_NAMES = {"text": "input", "format": "response_format"}


# The answers of OpenAPI
SPEECH_TYPES = ("audio/wav", "audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/pcm")
TEXTS = {JSON: ref("Transcription"), "text/plain": TEXT, "application/x-subrip": TEXT, "text/vtt": TEXT}
TRANSCRIPT = answer_in("The transcript in the form that `response_format` names", TEXTS)
STREAMED = answer_in("The transcript in the form that `response_format` names, or its events", {**TEXTS, SSE: TEXT})
SPEECH = answer_in("The file, or its pieces as events", {**dict.fromkeys(SPEECH_TYPES, BINARY), SSE: TEXT})


def add_transcriptions(routes: APIRouter, service: Service) -> None:
    transcription = service.graph("transcription")

    @routes.post(
        "/audio/transcriptions",
        summary="Transcribe audio",
        openapi_extra=described(Transcription, {200: STREAMED}, FORM),
    )
    async def create_transcription(request: Request) -> Response:
        body = await form_body(request, Transcription, "recording as `file`")
        words = "word" in body.timestamp_granularities
        fields: dict[str, Any] = {"audio": body.file, "language": body.language, "word_times": words}
        with names(TRANSCRIPTION_NAMES):
            run = await prepare(request, service, transcription, "ears", body.model, streams=body.stream, **fields)
            if body.stream:
                return await begun(_transcript_events(run))
            return _transcript(await run.answer(), body.response_format, "transcribe")

    @routes.post(
        "/audio/translations", summary="Translate audio", openapi_extra=described(Translation, {200: TRANSCRIPT}, FORM)
    )
    async def create_translation(request: Request) -> Response:
        """The spoken text, translated into English."""
        body = await form_body(request, Translation, "recording as `file`")
        fields: dict[str, Any] = {"audio": body.file, "translate": True}
        with names(TRANSCRIPTION_NAMES):
            run = await prepare(request, service, transcription, "ears", body.model, **fields)
            return _transcript(await run.answer(), body.response_format, "translate")


def add_speech(routes: APIRouter, service: Service) -> None:
    text_limit = service.config.gateway.body_limit(holds_media=False)
    speech = service.graph("speech")

    @routes.post("/audio/speech", summary="Create speech", openapi_extra=described(SpeechCreation, {200: SPEECH}))
    async def create_speech(request: Request) -> Response:
        """The file, streamed as it is spoken if the model can stream; a WAV only with `stream_format`, since its header
        states its length. With `stream_format` `sse`, events with pieces of the file in base64."""
        body = await read_json(request, SpeechCreation, *text_limit)
        fields: dict[str, Any] = {
            "text": body.input,
            "voice": body.voice,
            "speed": body.speed,
            "format": body.response_format,
        }
        streams = body.stream_format is not None or body.response_format != "wav"
        with names(SPEECH_NAMES):
            run = await prepare(request, service, speech, "voice", body.model, streams=streams, **fields)
            if not streams:
                audio: Audio = (await run.answer()).audio
                return Response(audio.data, media_type=audio.media_type)
            if body.stream_format == "sse":
                return await begun(_speech_events(run))
            pieces = run.pieces()
            first: Audio = (await anext(pieces)).audio  # an error before the first piece still gets its own status
        return StreamingResponse(_bytes(first, pieces), media_type=first.media_type)


async def _bytes(first: Audio, rest: AsyncGenerator[Any]) -> AsyncGenerator[bytes]:
    """The pieces of a file. After an error the file breaks off: the response has no place left for an error."""
    async with aclosing(rest):
        yield first.data
        async for piece in rest:
            yield piece.audio.data


async def _speech_events(run: SyncRun) -> AsyncGenerator[str]:
    """Pieces of the file as they are spoken; an error after the first is an event too."""
    spoken = False
    try:
        with names(SPEECH_NAMES):
            async with aclosing(run.pieces()) as pieces:
                async for piece in pieces:
                    spoken = True
                    data = base64.b64encode(piece.audio.data).decode()
                    yield body_event({"type": "speech.audio.delta", "audio": data})
        yield body_event({"type": "speech.audio.done"})
    except MedleyError as error:
        if not spoken:
            raise
        yield body_event(openai_error(error)[1])


async def _transcript_events(run: SyncRun) -> AsyncGenerator[str]:
    """The transcript, stretch by stretch if the model streams, then as a whole; an error after the first stretch is an
    event too."""
    texts = list[str]()
    try:
        stretch: Transcript
        with names(TRANSCRIPTION_NAMES):
            async with aclosing(run.pieces()) as pieces:
                async for stretch in pieces:
                    if not stretch.text:  # silence
                        continue
                    delta = f" {stretch.text}" if texts else stretch.text
                    texts.append(stretch.text)
                    yield body_event({"type": "transcript.text.delta", "delta": delta})
        yield body_event({"type": "transcript.text.done", "text": " ".join(texts)})
    except MedleyError as error:
        if not texts:
            raise
        yield body_event(openai_error(error)[1])


def _segment(index: int, segment: Segment) -> dict[str, Any]:
    """A segment with every field that clients require; 0 where the model does not say."""
    text = segment.text.encode()
    return {
        "id": index,
        "seek": round(segment.start * 100),  # in frames of 10 ms
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": segment.tokens,
        "temperature": segment.temperature or 0.0,
        "avg_logprob": segment.avg_logprob or 0.0,
        "compression_ratio": len(text) / len(zlib.compress(text)),  # as Whisper has it
        "no_speech_prob": segment.no_speech_prob or 0.0,
    }


def _transcript(transcript: Transcript, form: str, task: str) -> Response:
    if form == "json":
        return JSONResponse({"text": transcript.text})
    if form == "verbose_json":
        segments = [_segment(index, segment) for index, segment in enumerate(transcript.segments)]
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
