"""What OpenAI's routes share: a run of a graph with one model named, bodies, and errors in OpenAI's words."""

import asyncio
import json
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from deployments.errors import InvalidInput, MedleyError, UnsupportedMedia

from ....config.schema import AUTO
from ....errors import FieldError, InvalidRequest, invalid_request
from ....graph import Graph
from ....run import Run
from ...request_body import read_form

if TYPE_CHECKING:
    from ...service import Service

B = TypeVar("B", bound=BaseModel)

DEFAULT_MODEL = "default"  # the profile's first model of the capability


async def prepare(
    service: "Service", graph: Graph[..., Any], parameter: str, model: str, **fields: Any
) -> tuple[Run, BaseModel]:
    """A run with one model named, and the graph's validated call."""
    chosen = {} if model == DEFAULT_MODEL else {parameter: model}
    if chosen and model != AUTO:
        service.models.named(model, graph.capabilities[parameter])

    def validated() -> BaseModel:
        return graph.request.model_validate(fields, context={"limits": service.config.gateway.limits})

    try:
        # Opening media takes a while: not on the event loop.
        call = await asyncio.to_thread(validated) if graph.takes_media else validated()
    except ValidationError as error:
        raise invalid_request(error) from None
    return Run(service.models, chosen, longest_s=service.config.gateway.run_timeout_s), call


async def json_body(request: Request, schema: type[B]) -> B:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind != "application/json":
        raise UnsupportedMedia("content-type", f"{kind!r} is not taken here: send application/json")
    body = await request.body()
    try:
        return schema.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise invalid_request(error) from None


async def form_body(request: Request, schema: type[B], media: str) -> B:
    """A multipart form; `media` is its file, for the error where the body is something else."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UnsupportedMedia("content-type", f"send multipart/form-data with the {media}")
    return valid(schema, await read_form(request, schema))


def valid(schema: type[B], fields: dict[str, Any]) -> B:
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error) from None


@contextmanager
def names(renamed: dict[str, str]) -> Generator[None, None, None]:
    """Errors of what is inside name OpenAI's parameters instead of our fields."""
    try:
        yield
    except MedleyError as error:
        raise _renamed(error, renamed) from None


def _renamed(error: MedleyError, names: dict[str, str]) -> MedleyError:
    if isinstance(error, InvalidRequest):
        return InvalidRequest([FieldError(names.get(e.field, e.field), e.detail, e.code) for e in error.errors])
    if isinstance(error, InvalidInput):
        return type(error)(names.get(error.field, error.field), error.detail)
    return error


def body_of(schema: type[BaseModel], kind: str = "application/json") -> dict[str, Any]:
    # Its `$defs` are put among the components by `schema.openapi`.
    document = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {kind: {"schema": document}}}}


async def chain(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    """A stream whose first item has been looked at already."""
    yield first
    async for item in rest:
        yield item


def event(body: dict[str, Any]) -> str:
    """A server-sent event, as OpenAI's clients read it."""
    return f"data: {json.dumps(body)}\n\n"
