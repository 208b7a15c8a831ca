"""Artifacts over HTTP: upload, list, read (also in ranges, and by signed URL), delete."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response, StreamingResponse

from deployments.errors import InvalidInput, UnsupportedMedia
from deployments.media import Audio, Image, Media, MediaLimits, Video

from ...errors import BodyTooLarge, Refused, Unauthorized, invalid_request
from ...jobs.view import iso
from ...storage.artifacts import PATH, Artifact, Artifacts
from ..error_responses import error_response
from ..media_threads import in_media_thread
from ..request_body import media_type_of, opened_form
from .paging import page, read_page

RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,40})-([0-9]{0,40})[ \t]*", re.IGNORECASE)
KINDS: dict[str, type[Media]] = {"image": Image, "video": Video, "audio": Audio}
JSON = "application/json"
FORM = "multipart/form-data"
MAX_SECONDS = 7 * 86400  # S3 signs for a week at most


class Sharing(BaseModel):
    """A request for a signed URL."""

    model_config = ConfigDict(extra="forbid")
    seconds: int = Field(default=3600, ge=1, le=MAX_SECONDS, description="How long the URL works")


def router(artifacts: Artifacts, max_bytes: int, limits: MediaLimits) -> APIRouter:
    """The routes of artifacts; an upload has at most `max_bytes`, and its media are within `limits`."""
    routes = APIRouter(prefix=PATH, tags=["artifacts"])

    @routes.post("", status_code=201, summary="Upload a file", openapi_extra=_upload_operation())
    async def upload(request: Request) -> Response:
        data, claimed = await _read_upload(request)
        if len(data) > max_bytes:
            raise BodyTooLarge(f"The file has {len(data):,} bytes; at most {max_bytes:,} are accepted.")
        media_type = await in_media_thread(_identify, data, claimed, limits)
        artifact = await artifacts.add(request.scope["identity"].user, "references", data, media_type)
        return JSONResponse(_described(artifact, request), 201, {"location": f"{PATH}/{artifact.id}"})

    @routes.get("", summary="Your artifacts, newest first")
    async def listing(request: Request) -> Response:
        limit, before = read_page(request)
        rows = await artifacts.page(request.scope["identity"].user, limit + 1, before)
        return page("artifacts", rows, limit, lambda artifact: _described(artifact, request))

    @routes.head("/{id}", include_in_schema=False)
    @routes.get("/{id}", summary="The bytes of an artifact, or a range of them")
    async def content(request: Request, id: str) -> Response:
        return await _content(request, artifacts, await _readable(request, artifacts, id))

    @routes.get("/{id}/metadata", summary="The metadata of an artifact")
    async def metadata(request: Request, id: str) -> Response:
        return JSONResponse(_described(await artifacts.find(request.scope["identity"].user, id), request))

    @routes.post("/{id}/url", summary="A signed URL, which needs no key", openapi_extra=_sharing_operation())
    async def url(request: Request, id: str) -> Response:
        try:
            sharing = Sharing.model_validate_json(await request.body() or b"{}")
        except ValidationError as error:
            raise invalid_request(error, list(Sharing.model_fields)) from None
        artifact = await artifacts.find(request.scope["identity"].user, id)
        expires = int(time.time()) + sharing.seconds
        address = await artifacts.url(artifact, sharing.seconds)
        if address.startswith("/"):
            address = str(request.base_url).rstrip("/") + address
        return JSONResponse({"url": address, "expires_at": iso(expires)})

    @routes.delete("/{id}", status_code=204, summary="Delete an artifact")
    async def delete(request: Request, id: str) -> Response:
        artifact = await artifacts.find(request.scope["identity"].user, id)
        await asyncio.to_thread(artifacts.delete_here, [artifact])
        return Response(status_code=204)

    return routes


async def _readable(request: Request, artifacts: Artifacts, id: str) -> Artifact:
    """The artifact, found by the URL's signature or among the caller's artifacts."""
    signature, expires = request.query_params.get("signature"), request.query_params.get("expires", "")
    if signature and re.fullmatch(r"[0-9]{1,12}", expires) and artifacts.verify(id, int(expires), signature):
        return await artifacts.find_signed(id)
    identity = request.scope["identity"]
    if identity is None:
        raise Unauthorized("The signature of this URL is wrong or has expired. Request a new URL.")
    return await artifacts.find(identity.user, id)


async def _content(request: Request, artifacts: Artifacts, artifact: Artifact) -> Response:
    etag = f'"{artifact.digest}"'
    headers = {
        "etag": etag,
        "accept-ranges": "bytes",
        "content-disposition": f'attachment; filename="{artifact.name}"',
        "content-security-policy": "sandbox",  # no script in an uploaded file may run with this origin's rights
    }
    if _matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    requested = request.headers.get("range") if request.method == "GET" else None
    if request.headers.get("if-range", etag) != etag:  # the artifact has changed, or the condition is a date
        requested = None
    part = byte_range(requested, artifact.size)
    start, end = part or (0, artifact.size - 1)
    if part and start > end:
        refusal = Refused(416, f"The range is not within the {artifact.size:,} bytes of the artifact.")
        response = error_response(refusal, request.url.path, request.scope["request_id"])
        response.headers["content-range"] = f"bytes */{artifact.size}"
        return response
    headers["content-length"] = str(end - start + 1)
    if part:
        headers["content-range"] = f"bytes {start}-{end}/{artifact.size}"
    if request.method == "HEAD":
        return Response(None, 200, headers, artifact.media_type)
    pieces = artifacts.chunks(artifact, start, end)
    first = await anext(pieces, b"")  # before the status is sent: a store that does not answer is a 503
    return StreamingResponse(_joined(first, pieces), 206 if part else 200, headers, artifact.media_type)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The first and last byte of a `Range` header (RFC 9110); first > last if the range is outside the content.

    None if the header must be ignored: it is absent or malformed, or has another unit or several ranges.
    """
    match = RANGE.fullmatch(header or "")
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:  # a suffix range: the last bytes
        return max(0, size - int(match[2])), size - 1
    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return None
    return start, min(int(match[2] or size), size - 1)


def _matches(header: str | None, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in (header or "").split(",")]
    return etag in tags or tags == ["*"]


async def _read_upload(request: Request) -> tuple[bytes, str]:
    """The file of the request, and its claimed media type."""
    claimed = media_type_of(request.headers.get("content-type"))
    if claimed == FORM:
        async with opened_form(request, 2) as form:
            parts = form.multi_items()
            if len(parts) != 1 or parts[0][0] != "file" or not isinstance(parts[0][1], UploadFile):
                raise InvalidInput("file", "must be a file, and the form's only field")
            return await parts[0][1].read(), media_type_of(parts[0][1].content_type)
    if claimed != JSON and claimed.split("/")[0] not in KINDS:
        raise UnsupportedMedia(
            "content-type",
            f"{claimed!r} is not accepted here: send a form with a file, or audio, an image, video or JSON",
        )
    return await request.body(), claimed


def _identify(data: bytes, claimed: str, limits: MediaLimits) -> str:
    """The media type by the file's content. The claimed type is only tried first.

    Raises:
        UnsupportedMedia: the file is neither media nor JSON.
        InvalidInput: the file is empty, damaged or too large.
    """
    if not data:
        raise InvalidInput("file", "is empty")
    if claimed == JSON:
        try:
            json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidInput("file", f"is not JSON: {error}") from None
        return JSON
    first = claimed.split("/")[0]
    damage: PydanticCustomError | None = None
    for kind in sorted(KINDS, key=lambda kind: kind != first):  # a film has sound too: video comes before audio
        try:
            return KINDS[kind].checked(data, limits).media_type
        except PydanticCustomError as error:
            if error.type == "media_too_large":
                raise InvalidInput("file", error.message()) from None
            if error.type != "media_unsupported":
                damage = damage or error
                if kind == first:
                    break
    if damage:
        raise InvalidInput("file", damage.message())
    if name := Image.unread_format(data):
        raise UnsupportedMedia("file", f"is {name}, which is not read here: convert it to PNG, JPEG or WebP")
    raise UnsupportedMedia("file", "is not audio, an image or a video in an accepted format")


def _described(artifact: Artifact, request: Request) -> dict[str, Any]:
    return {
        "id": artifact.id,
        "media_type": artifact.media_type,
        "size": artifact.size,
        "digest": artifact.digest,
        "folder": artifact.folder,
        "job_id": artifact.job_id,
        "created_at": iso(artifact.created_at),
        "expires_at": None if artifact.expires_at is None else iso(artifact.expires_at),
        "url": f"{str(request.base_url).rstrip('/')}{PATH}/{artifact.id}",
    }


def _upload_operation() -> dict[str, Any]:
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"file": binary}, "required": ["file"]}
    kinds = [JSON, *(f"{kind}/*" for kind in KINDS)]
    content: dict[str, Any] = {FORM: {"schema": form}, **{kind: {"schema": dict(binary)} for kind in kinds}}
    return {"requestBody": {"required": True, "content": content}}


def _sharing_operation() -> dict[str, Any]:
    return {"requestBody": {"content": {JSON: {"schema": Sharing.model_json_schema()}}}}
