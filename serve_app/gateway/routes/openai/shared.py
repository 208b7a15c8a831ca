"""Functions that OpenAI's routes share: run a graph with a named model, read bodies, rename fields in errors."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from deployments.errors import InvalidInput, MedleyError, UnsupportedMedia
from deployments.nulls import NullIsAbsent

from ....config.schema import AUTO, DEFAULT
from ....errors import FieldError, InvalidRequest, invalid_request
from ....graph import MODELS_FIELD, Graph
from ....run import RunOptions
from ...json_body import media_type_of
from ...openapi_parts import JSON, body_in, operation
from ...parsing_pool import in_parsing_pool
from ...request_body import read_form
from ...server_sent_events import event
from ...service import Service
from ...sync_run import SyncRun

B = TypeVar("B", bound=BaseModel)

FORM = "multipart/form-data"


class OpenAIBody(NullIsAbsent):
    """A part of a body of OpenAI's API. Nothing is dropped in silence: what is not a field here is refused."""

    # The titles are the classes of generated clients, where a graph's own `TextPart` is another.
    model_config = ConfigDict(extra="forbid", model_title_generator=lambda cls: f"OpenAI {cls.__name__}")


async def prepare(
    request: Request,
    service: Service,
    graph: Graph[..., Any],
    parameter: str,
    model: str,
    *,
    streams: bool = False,
    holds_media: bool = True,
    **fields: Any,
) -> SyncRun:
    """A run of a graph with a named model, for the caller of a request.

    Args:
        parameter: the parameter of the graph that `model` is for.
        streams: whether the client follows the pieces.
        holds_media: whether these fields hold media, which take a while to open.
        fields: the fields of the graph's request.
    """
    meant = service.models.meant(model)
    named = {} if meant == DEFAULT else {parameter: model}
    if meant not in (DEFAULT, AUTO):
        service.models.named(model, graph.capabilities[parameter])

    context: dict[str, Any] = {"limits": service.config.gateway.limits}
    if graph.takes_media:
        context["artifacts"] = service.jobs.artifacts.opener(request.scope["identity"].user)

    def validated() -> BaseModel:
        return graph.call.model_validate({**fields, MODELS_FIELD: named}, context=context)

    try:
        # Opening media takes a while: not on the event loop.
        call = await in_parsing_pool(validated) if graph.takes_media and holds_media else validated()
    except ValidationError as error:
        raise invalid_request(error, graph.fields) from None
    options = RunOptions(timeout_s=service.config.gateway.run_timeout_s)
    return SyncRun(service.jobs, graph, call, request.scope["identity"], options, streams)


async def form_body(request: Request, schema: type[B], media: str) -> B:
    """A multipart form; `media` describes its file, for the error if the body is not a form."""
    if media_type_of(request.headers.get("content-type")) != "multipart/form-data":
        raise UnsupportedMedia("content-type", f"send multipart/form-data with the {media}")
    return valid(schema, await read_form(request, schema))


def valid(schema: type[B], fields: dict[str, Any]) -> B:
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error) from None


@contextmanager
def names(renamed: dict[str, str]) -> Generator[None, None, None]:
    """A context in which errors name OpenAI's parameters instead of the graph's fields."""
    try:
        yield
    except MedleyError as error:
        raise _renamed(error, renamed) from None


def _renamed(error: MedleyError, names: dict[str, str]) -> MedleyError:
    def renamed(field: str) -> str:
        return ".".join(names.get(part, part) for part in field.split("."))

    if isinstance(error, InvalidRequest):
        return InvalidRequest([FieldError(renamed(e.field), e.detail, e.code) for e in error.errors])
    if isinstance(error, InvalidInput):
        return type(error)(renamed(error.field), error.detail)
    return error


def described(schema: type[BaseModel], answers: Mapping[int, dict[str, Any]], kind: str = JSON) -> dict[str, Any]:
    """The OpenAPI operation of a route with this body. `openapi` moves the body's `$defs` to the components."""
    document = schema.model_json_schema(ref_template="#/components/schemas/openai.{model}")
    parts = {**document.pop("$defs", {}), schema.__name__: document}
    named = {"$ref": f"#/components/schemas/openai.{schema.__name__}"}
    definitions = {f"openai.{name}": part for name, part in parts.items()}
    return operation(answers, body=body_in({kind: {**named, "$defs": definitions}}))


def body_event(body: dict[str, Any]) -> str:
    """A server-sent event, as OpenAI's clients read it."""
    return event(json.dumps(body))
