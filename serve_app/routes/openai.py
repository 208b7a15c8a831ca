"""OpenAI's API, `/v1`, for clients that exist. Each route is a graph in other words; errors are OpenAI's."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from deployments.capabilities import AudioFormat, Delta, Language, Message, Transcript
from deployments.errors import InvalidInput, MedleyError, UnsupportedMedia
from graphs.chat import chat
from graphs.image_generation import image_generation
from graphs.speech import speech
from graphs.transcription import transcription

from ..errors import FieldError, InvalidRequest, NotOffered, invalid_request
from ..graph import Graph
from ..intake import read_form
from ..responses import openai_error
from ..run import Run
from ..subtitles import srt, vtt

if TYPE_CHECKING:
    from ..gateway import Service

B = TypeVar("B", bound=BaseModel)

DEFAULT_MODEL = "default"  # the profile's first model of the capability
STARTED = int(time.time())


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] = Field(max_length=32_000)

    def message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, content=text)


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatCompletion(BaseModel):
    model: str = DEFAULT_MODEL
    messages: list[ChatMessage] = Field(min_length=1, max_length=200)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Literal[1] | None = 1
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    stop: str | list[str] | None = None
    seed: int | None = Field(None, ge=0)
    tools: list[Any] | None = None
    response_format: dict[str, Any] | None = None


class ImageCreation(BaseModel):
    model: str = DEFAULT_MODEL
    prompt: str
    n: int | None = Field(1, ge=1, le=8)
    size: str | None = Field(None, pattern=r"^(auto|\d{1,4}x\d{1,4})$")
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png"] | None = None

    @property
    def sides(self) -> tuple[int | None, int | None]:
        """Width and height in pixels; without a size, the model's own."""
        if not self.size or self.size == "auto":
            return None, None
        width, height = self.size.split("x")
        return int(width), int(height)


class Transcription(BaseModel):
    file: bytes
    model: str = DEFAULT_MODEL
    language: str | None = None
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = "json"


class SpeechCreation(BaseModel):
    model: str = DEFAULT_MODEL
    input: str
    voice: str | None = None
    response_format: AudioFormat = "mp3"
    speed: float | None = None


def router(service: "Service") -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["openai"])
    limits = service.config.gateway.limits
    longest = service.config.gateway.run_timeout_s

    async def prepare(graph: Graph[..., Any], parameter: str, model: str, **fields: Any) -> tuple[Run, BaseModel]:
        """A run with one model named, and the graph's validated call."""
        chosen = {} if model == DEFAULT_MODEL else {parameter: model}
        if chosen:
            service.models.named(model, graph.capabilities[parameter])

        def validated() -> BaseModel:
            return graph.request.model_validate(fields, context={"limits": limits})

        try:
            # Opening media takes a while: not on the event loop.
            call = await asyncio.to_thread(validated) if graph.takes_media else validated()
        except ValidationError as error:
            raise invalid_request(error) from None
        return Run(service.models, chosen, longest_s=longest), call

    @routes.get("/models", summary="List models")
    async def list_models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(model.name) for model in service.models.all]})

    @routes.get("/models/{model}", summary="Retrieve a model")
    async def retrieve_model(model: str) -> Response:
        return JSONResponse(_model(service.models.named(model).name))

    @routes.post("/chat/completions", summary="Create a chat completion", openapi_extra=_body(ChatCompletion))
    async def chat_completions(request: Request) -> Response:
        asked = await _json(request, ChatCompletion)
        if asked.tools or (asked.response_format or {}).get("type", "text") != "text":
            raise NotOffered("This model has neither tools nor response formats other than text.")
        run, call = await prepare(
            chat,
            "writer",
            asked.model,
            messages=[message.message() for message in asked.messages],
            max_tokens=asked.max_completion_tokens or asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            stop=[asked.stop] if isinstance(asked.stop, str) else asked.stop,
            seed=asked.seed,
        )
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
        if asked.stream:
            chunks = _chat_chunks(run, call, {**head, "object": "chat.completion.chunk"}, asked.stream_options)
            first = await anext(chunks)  # an error before the first token still has its own status
            return StreamingResponse(_all(first, chunks), media_type="text/event-stream")
        reply = await run.execute(chat, call)
        message = {"role": "assistant", "content": reply.text}
        head |= {"object": "chat.completion", "model": run.steps[-1].model}
        choices = [{"index": 0, "message": message, "finish_reason": reply.finish_reason}]
        usage = _usage(reply.prompt_tokens, reply.completion_tokens)
        return JSONResponse({**head, "choices": choices, "usage": usage})

    @routes.post("/images/generations", summary="Create images", openapi_extra=_body(ImageCreation))
    async def images_generations(request: Request) -> Response:
        asked = await _json(request, ImageCreation)
        width, height = asked.sides
        with _names({"width": "size", "height": "size", "count": "n"}):
            run, call = await prepare(
                image_generation,
                "painter",
                asked.model,
                prompt=asked.prompt,
                count=asked.n or 1,
                width=width,
                height=height,
            )
            images = (await run.execute(image_generation, call)).images
        if asked.response_format == "url":
            data = [{"url": image.url} for image in images]
        else:
            data = [{"b64_json": base64.b64encode(image.data).decode()} for image in images]
        return JSONResponse({"created": int(time.time()), "data": data, "output_format": "png"})

    @routes.post(
        "/audio/transcriptions", summary="Transcribe audio", openapi_extra=_body(Transcription, "multipart/form-data")
    )
    async def audio_transcriptions(request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise UnsupportedMedia("content-type", "send multipart/form-data with the recording as `file`")
        asked = _valid(Transcription, await read_form(request, Transcription))
        with _names({"audio": "file"}):
            fields = {"audio": asked.file, "language": asked.language}
            run, call = await prepare(transcription, "ears", asked.model, **fields)
            return _transcript(await run.execute(transcription, call), asked.response_format)

    @routes.post("/audio/speech", summary="Create speech", openapi_extra=_body(SpeechCreation))
    async def audio_speech(request: Request) -> Response:
        asked = await _json(request, SpeechCreation)
        with _names({"text": "input", "format": "response_format"}):
            fields = {"text": asked.input, "voice": asked.voice, "speed": asked.speed, "format": asked.response_format}
            run, call = await prepare(speech, "voice", asked.model, **fields)
            audio = (await run.execute(speech, call)).audio
        return Response(audio.data, media_type=audio.media_type)

    return routes


async def _chat_chunks(run: Run, call: Any, head: dict[str, Any], options: StreamOptions) -> AsyncIterator[str]:
    """Server-sent events of a reply as it is written; an error after the first is an event too."""
    fields = call.model_dump(exclude={"messages"})
    prompt_tokens = completion_tokens = 0
    head["model"] = ""
    try:
        begun = False
        delta: Delta
        async for delta in run.model("writer", Language).stream(call.messages, **fields):
            head["model"] = run.steps[-1].model
            content: dict[str, Any] = {"content": delta.text} if begun else {"role": "assistant", "content": delta.text}
            begun = True
            if delta.finish_reason:
                prompt_tokens, completion_tokens = delta.prompt_tokens, delta.completion_tokens
            yield _event({**head, "choices": [{"index": 0, "delta": content, "finish_reason": delta.finish_reason}]})
        if options.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(prompt_tokens, completion_tokens)})
        yield "data: [DONE]\n\n"
    except MedleyError as error:
        if not head["model"]:
            raise
        yield _event(openai_error(error)[1])


async def _all(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for item in rest:
        yield item


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": STARTED, "owned_by": "medley"}


def _transcript(transcript: Transcript, form: str) -> Response:
    if form == "json":
        return JSONResponse({"text": transcript.text})
    if form == "verbose_json":
        segments = [{"id": index, **segment.model_dump()} for index, segment in enumerate(transcript.segments)]
        body = {"task": "transcribe", "language": transcript.language, "duration": transcript.seconds}
        return JSONResponse({**body, "text": transcript.text, "segments": segments})
    if form == "text":
        return PlainTextResponse(transcript.text + "\n")
    if form == "srt":
        return PlainTextResponse(srt(transcript.segments), media_type="application/x-subrip")
    return PlainTextResponse(vtt(transcript.segments), media_type="text/vtt")


async def _json(request: Request, schema: type[B]) -> B:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind != "application/json":
        raise UnsupportedMedia("content-type", f"{kind!r} is not taken here: send application/json")
    body = await request.body()
    try:
        return schema.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise invalid_request(error) from None


def _valid(schema: type[B], fields: dict[str, Any]) -> B:
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error) from None


@contextmanager
def _names(names: dict[str, str]) -> Generator[None, None, None]:
    """Errors of what is inside name OpenAI's parameters instead of our fields."""
    try:
        yield
    except MedleyError as error:
        raise _renamed(error, names) from None


def _renamed(error: MedleyError, names: dict[str, str]) -> MedleyError:
    if isinstance(error, InvalidRequest):
        return InvalidRequest([FieldError(names.get(e.field, e.field), e.detail, e.code) for e in error.errors])
    if isinstance(error, InvalidInput):
        return type(error)(names.get(error.field, error.field), error.detail)
    return error


def _body(schema: type[BaseModel], kind: str = "application/json") -> dict[str, Any]:
    # Its `$defs` are put among the components by `schema.openapi`.
    document = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {kind: {"schema": document}}}}
