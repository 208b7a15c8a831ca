"""Artifacts over HTTP: upload, list, read (also in ranges, and by signed URL), delete."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response, StreamingResponse

from deployments.errors import InvalidInput, UnsupportedMedia
from deployments.media import Audio, Image, Media, MediaLimits, Video

from ...accounts.usage import Usage
from ...config.schema import GatewayConfig
from ...errors import BodyTooLarge, Refused, Unauthorized
from ...jobs.view import iso
from ...storage.artifacts import PATH, Artifact, Artifacts
from ..error_responses import error_response
from ..json_body import media_type_of, read_json
from ..openapi_parts import (
    ANY_OBJECT,
    ANYTHING,
    BINARY,
    JSON,
    PAGE_PARAMETERS,
    TEXT,
    WHOLE,
    answer,
    answer_in,
    body_in,
    header,
    operation,
    query,
    ref,
)
from ..parsing_pool import in_parsing_pool
from ..request_body import opened_form
from .paging import page, read_page

RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,40})-([0-9]{0,40})[ \t]*", re.IGNORECASE)
KINDS: dict[str, type[Media]] = {"image": Image, "video": Video, "audio": Audio}
FORM, BYTES = "multipart/form-data", "application/octet-stream"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MAX_SECONDS = 7 * 86400  # S3 signs for a week at most


class Sharing(BaseModel):
    """A request for a signed URL."""

    model_config = ConfigDict(extra="forbid")
    seconds: int = Field(default=3600, ge=1, le=MAX_SECONDS, description="How long the URL works")


# The operations of OpenAPI
FILE = {"type": "object", "properties": {"file": BINARY}, "required": ["file"]}
UPLOADED = answer("The artifact", ref("Artifact"), {"Location": "Its path"})
# A file without a form may have its own media type, which OpenAPI could only say as `audio/*`: generators stumble.
UPLOAD = operation({201: UPLOADED}, body=body_in({FORM: FILE, JSON: ANY_OBJECT, BYTES: BINARY}))
LISTING = operation({200: answer("A page of artifacts", ref("Artifacts"))}, PAGE_PARAMETERS)
CONTENTS = {BYTES: BINARY, JSON: ANYTHING, **{f"{kind}/*": BINARY for kind in KINDS}}
VALIDATOR = {"ETag": "Changes with the bytes", "Cache-Control": "`private, no-cache`"}
CONTENT = operation(
    {
        200: answer_in("The bytes", CONTENTS, {**VALIDATOR, "Accept-Ranges": "`bytes`"}),
        206: answer_in("A range of the bytes", CONTENTS, {**VALIDATOR, "Content-Range": "The range"}),
        304: answer("The bytes are those that the caller has", headers=VALIDATOR),
    },
    [
        header("Range", "A range of bytes, such as `bytes=0-99`"),
        header("If-None-Match", "The ETag of the bytes that the caller has"),
        header("If-Range", "The ETag that the range is of"),
        query("expires", WHOLE, "Part of a signed URL"),
        query("signature", TEXT, "Part of a signed URL, which needs no key"),
    ],
)
METADATA = operation({200: answer("The artifact", ref("Artifact"))})
SHARING = operation(
    {200: answer("The URL", ref("SignedURL"))}, body=body_in({JSON: Sharing.model_json_schema()}, required=False)
)
DELETE = operation({204: answer("It is deleted")})


def router(artifacts: Artifacts, usage: Usage, gateway: GatewayConfig) -> APIRouter:
    """The routes of artifacts; uploads are within the limits of the gateway."""
    (max_bytes, _), limits = gateway.body_limit(holds_media=True), gateway.limits
    routes = APIRouter(prefix=PATH, tags=["artifacts"])

    @routes.post("", status_code=201, summary="Upload a file", openapi_extra=UPLOAD)
    async def upload_artifact(request: Request) -> Response:
        data, claimed = await _read_upload(request)
        if len(data) > max_bytes:
            raise BodyTooLarge(f"The file has {len(data):,} bytes; at most {max_bytes:,} are accepted.")
        media_type = await in_parsing_pool(_identify, data, claimed, limits)
        user = request.scope["identity"].user
        await usage.admit_upload(user, len(data))
        artifact = await artifacts.add(user, "references", data, media_type)
        return JSONResponse(
            _described(artifact, address_of(request, gateway)), 201, {"location": f"{PATH}/{artifact.id}"}
        )

    @routes.get("", summary="Your artifacts, newest first", openapi_extra=LISTING)
    async def list_artifacts(request: Request) -> Response:
        limit, before = read_page(request)
        rows = await artifacts.page(request.scope["identity"].user, limit + 1, before)
        return page("artifacts", rows, limit, lambda artifact: _described(artifact, address_of(request, gateway)))

    @routes.head("/{id}", include_in_schema=False)
    @routes.get("/{id}", summary="The bytes of an artifact, or a range of them", openapi_extra=CONTENT)
    async def get_artifact(request: Request, id: str) -> Response:
        return await _content(request, artifacts, await _readable(request, artifacts, id))

    @routes.get("/{id}/metadata", summary="The metadata of an artifact", openapi_extra=METADATA)
    async def get_artifact_metadata(request: Request, id: str) -> Response:
        return JSONResponse(
            _described(await artifacts.find(request.scope["identity"].user, id), address_of(request, gateway))
        )

    @routes.post("/{id}/url", summary="A signed URL, which needs no key", openapi_extra=SHARING)
    async def sign_artifact_url(request: Request, id: str) -> Response:
        sharing = await read_json(request, Sharing)
        artifact = await artifacts.find(request.scope["identity"].user, id)
        expires = int(time.time()) + sharing.seconds
        address = await artifacts.url(artifact, sharing.seconds)
        if address.startswith("/"):
            address = address_of(request, gateway) + address
        return JSONResponse({"url": address, "expires_at": iso(expires)})

    @routes.delete("/{id}", status_code=204, summary="Delete an artifact", openapi_extra=DELETE)
    async def delete_artifact(request: Request, id: str) -> Response:
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
        "cache-control": "private, no-cache",  # the caller may keep it, and asks each time whether it is still the same
        "content-disposition": f'attachment; filename="{artifact.name}"',
        "content-security-policy": "sandbox",  # no script in an uploaded file may run with this origin's rights
    }
    if _matches(",".join(request.headers.getlist("if-none-match")), etag):
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


def _matches(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
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
    if claimed not in (JSON, BYTES) and claimed.split("/")[0] not in KINDS:
        raise UnsupportedMedia(
            "content-type",
            f"{claimed!r} is not accepted here: send a form with a file, or audio, an image, video or JSON by its own "
            f"type or as {BYTES}",
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


def address_of(request: Request, gateway: GatewayConfig) -> str:
    """The beginning of absolute URLs; empty, for relative ones, if the service does not know its own address.

    The Host header alone is the caller's word: it could make others follow a signed URL to a foreign host.
    """
    if gateway.public_url:
        return gateway.public_url
    return f"{request.url.scheme}://{request.url.netloc}" if request.url.hostname in LOOPBACK else ""


def _described(artifact: Artifact, address: str) -> dict[str, Any]:
    return {
        "id": artifact.id,
        "media_type": artifact.media_type,
        "size": artifact.size,
        "digest": artifact.digest,
        "folder": artifact.folder,
        "job_id": artifact.job_id,
        "created_at": iso(artifact.created_at),
        "expires_at": None if artifact.expires_at is None else iso(artifact.expires_at),
        "url": f"{address}{PATH}/{artifact.id}",
    }
