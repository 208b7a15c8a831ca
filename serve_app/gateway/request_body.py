"""The body of a request, JSON or multipart, read into a graph's call."""

import functools
import typing
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from deployments.errors import InvalidInput, MedleyError, UnsupportedMedia

from ..config.schema import GatewayConfig
from ..errors import invalid_request
from ..graph import Graph
from ..storage.artifacts import Artifacts
from .json_body import check_text, media_type_of, parsed_field, read_body, validated
from .parsing_pool import in_parsing_pool

MAX_PARTS = 200


async def read_call(
    request: Request, graph: Graph[..., Any], gateway: GatewayConfig, artifacts: Artifacts
) -> BaseModel:
    """The graph's validated request, with the models that the caller names.

    An artifact's id in place of media must name one of the caller's artifacts.

    Raises:
        UnsupportedMedia: the body or a file in it has a format that is not accepted.
        InvalidRequest: a field is missing, unknown or invalid.
        BodyTooLarge: the body has too many bytes, or the form too many parts.
    """
    content_type = media_type_of(request.headers.get("content-type"), "application/json")
    context: dict[str, Any] = {"limits": gateway.limits}
    if graph.takes_media:
        context["artifacts"] = artifacts.opener(request.scope["identity"].user)
    try:
        if content_type == "application/json":
            body = await read_body(request, *gateway.body_limit(graph.takes_media))
            if graph.takes_media:
                check_text(body, *gateway.body_limit(holds_media=False))
            validate = functools.partial(graph.call.model_validate_json, context=context)
            call = await validated(validate, body, holds_media=graph.takes_media)
        elif content_type == "multipart/form-data":
            fields = await read_form(request, graph.call)
            call = await in_parsing_pool(graph.call.model_validate, fields, context=context)
        else:
            raise UnsupportedMedia(
                "content-type", f"{content_type!r} is not accepted here: send application/json or multipart/form-data"
            )
    except ValidationError as error:
        raise invalid_request(error, graph.fields) from None
    return call


async def read_form(request: Request, schema: type[BaseModel]) -> dict[str, Any]:
    """A multipart form as input for pydantic: files as bytes, JSON for fields that are not text, repeats as a list.

    What a browser sends of an input that nobody has filled is left out.

    Raises:
        InvalidInput: the form cannot be read.
        BodyTooLarge: the form has too many parts.
    """
    fields: dict[str, Any] = {}
    async with opened_form(request, MAX_PARTS) as form:
        for part in form:
            name = part.removesuffix("[]")  # many clients, including OpenAI's, name the parts of a list like this
            filled = [item for item in form.getlist(part) if not _is_unfilled(item, schema, name)]
            if not filled:
                continue
            values = [await _value(item, schema, name) for item in filled]
            fields[name] = values[0] if len(values) == 1 and not _is_list(schema, name, values[0]) else values
    return fields


@asynccontextmanager
async def opened_form(request: Request, max_parts: int) -> AsyncGenerator[FormData]:
    """The parts of a multipart body, open until the block ends.

    Raises:
        InvalidInput: the body cannot be read.
        BodyTooLarge: the body is larger than the service accepts.
    """
    try:
        form = await request.form(max_files=max_parts, max_fields=max_parts)
    except Exception as error:  # Starlette and python-multipart each raise several errors
        if isinstance(error, MedleyError):  # the body is too large, or comes too slowly
            raise
        raise InvalidInput("body", f"cannot be read as a form: {getattr(error, 'detail', error)}") from None
    try:
        yield form
    finally:
        await form.close()


def _is_unfilled(item: UploadFile | str, schema: type[BaseModel], name: str) -> bool:
    """Whether a part is a file input without a file (nameless and empty), or an empty text for an optional field."""
    if isinstance(item, UploadFile):
        return not item.filename and not item.size
    field = schema.model_fields.get(name)
    return not item and field is not None and not field.is_required()


async def _value(item: UploadFile | str, schema: type[BaseModel], name: str) -> Any:
    if isinstance(item, UploadFile):
        return await item.read()
    if item in (choices := _choices(schema, name)):
        return choices[item]
    return parsed_field(item) if not _is_text(schema, name) and item[:1] in "[{" else item


def _annotation(schema: type[BaseModel], name: str) -> Any:
    field = schema.model_fields.get(name)
    return field.annotation if field else None


def _is_text(schema: type[BaseModel], name: str) -> bool:
    annotation = _annotation(schema, name)
    return annotation is str or str in typing.get_args(annotation)


def _choices(schema: type[BaseModel], name: str) -> dict[str, Any]:
    """The values of a `Literal` by their text: pydantic reads "2" as a number, but not as a literal 2."""
    annotation = _annotation(schema, name)
    kinds = [annotation, *typing.get_args(annotation)]
    literals = [kind for kind in kinds if typing.get_origin(kind) is typing.Literal]
    return {str(choice): choice for literal in literals for choice in typing.get_args(literal)}


def _is_list(schema: type[BaseModel], name: str, value: Any) -> bool:
    """Whether a single part stands for a list with one entry (and is not the whole list as JSON)."""
    annotation = _annotation(schema, name)
    kinds = [annotation, *typing.get_args(annotation)]
    return not isinstance(value, list) and any(typing.get_origin(kind) is list for kind in kinds)
