"""Aliases: paths that clients of earlier systems call, as one table of native routes.

A row has a method, a path, its native route, and whether it responds with the job at once. Bodies and responses are the
native ones; `{operation}` of `image-utils` names the graph `image_{operation}`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ...config.schema import GatewayConfig
from ...errors import UnknownName
from ..json_body import read_json
from ..openapi import ALIAS_OF, AS_JOB, PARAMETERS, STARTED
from ..openapi_parts import ANY_OBJECT, JSON, SSE, TEXT, answer_in, body_in, operation

GRAPHS = "/api/v1/graphs"


@dataclass(frozen=True)
class Alias:
    method: str
    path: str
    native: str
    at_once: bool = False


ALIASES = (
    Alias("POST", "/api/generate", f"{GRAPHS}/image_generation"),
    Alias("POST", "/api/generate/async", f"{GRAPHS}/image_generation", at_once=True),
    Alias("GET", "/api/generate/status/{id}", "/api/v1/jobs/{id}"),
    Alias("GET", "/api/generate/result/{id}", "/api/v1/jobs/{id}/result"),
    Alias("POST", "/api/smart-mask", f"{GRAPHS}/smart_mask"),
    Alias("POST", "/generate", f"{GRAPHS}/image_generation", at_once=True),
    Alias("GET", "/status/{id}", "/api/v1/jobs/{id}"),
    Alias("GET", "/jobs/{id}", "/api/v1/jobs/{id}"),
)
OPERATIONS = "/api/image-utils/{operation}"


class JobRequest(BaseModel):
    """A graph's name and its request."""

    model_config = ConfigDict(extra="forbid")

    graph: str = Field(description="Name of a graph")
    input: dict[str, Any] = Field(default={}, description="The graph's request")


def add_aliases(app: FastAPI, gateway: GatewayConfig) -> None:
    """Add every alias whose native route this service has."""
    natives = {
        (method, route.path): route for route in app.routes if isinstance(route, APIRoute) for method in route.methods
    }
    graphs = {
        path.removeprefix(f"{GRAPHS}/"): route.endpoint
        for (method, path), route in natives.items()
        if is_graph(method, path)
    }
    for alias in ALIASES:
        native = natives.get((alias.method, alias.native))
        if native is not None:
            endpoint = at_once(native.endpoint) if alias.at_once else native.endpoint
            summary = (
                f"The same as {alias.method} {alias.native}{' with `Prefer: respond-async`' if alias.at_once else ''}"
            )
            same = {ALIAS_OF: [alias.method.lower(), alias.native, alias.at_once]}  # `openapi` copies the operation
            app.add_api_route(
                alias.path, endpoint, methods=[alias.method], tags=["aliases"], summary=summary, openapi_extra=same
            )

    @app.post(
        "/jobs",
        tags=["aliases"],
        summary="Run the graph named in the body as a job",
        openapi_extra=operation({202: STARTED}, AS_JOB, body_in({JSON: JobRequest.model_json_schema()})),
    )
    async def create(request: Request) -> Response:
        body = await read_json(request, JobRequest, *gateway.body_limit(holds_media=True))
        if body.graph not in graphs:
            raise UnknownName("graph", body.graph, graphs)
        return await at_once(graphs[body.graph])(with_body(request, body.input))

    @app.post(
        OPERATIONS,
        tags=["aliases"],
        summary="The same as POST /api/v1/graphs/image_{operation}",
        openapi_extra=operation(
            {200: answer_in("The graph's result", {JSON: ANY_OBJECT, SSE: TEXT}), 202: STARTED},
            PARAMETERS,
            body_in({JSON: ANY_OBJECT, "multipart/form-data": ANY_OBJECT}),
        ),
    )
    async def operate(request: Request, operation: str) -> Response:
        name = f"image_{operation.replace('-', '_')}"
        if name not in graphs:
            known = [graph.removeprefix("image_") for graph in graphs if graph.startswith("image_")]
            raise UnknownName("operation", operation, known)
        return await graphs[name](request)


def is_graph(method: str, path: str) -> bool:
    return method == "POST" and path.startswith(f"{GRAPHS}/") and "{" not in path


def at_once(endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """The endpoint with `Prefer: respond-async`."""

    async def respond_async(request: Request) -> Response:
        others = [header for header in request.scope["headers"] if header[0] != b"prefer"]
        request.scope["headers"] = [(b"prefer", b"respond-async"), *others]
        return await endpoint(Request(request.scope, request.receive))

    return respond_async


def with_body(request: Request, body: dict[str, Any]) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    return Request(request.scope, receive)
