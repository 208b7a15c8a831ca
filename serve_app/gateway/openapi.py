"""The OpenAPI document. FastAPI does not parse the bodies of graph routes, so their schemas are added here."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from deployments.media import has_media

from ..graph import Graph

REFERENCE = "#/components/schemas/{model}"
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem document",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string"},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
    },
}
PROBLEMS = {
    "401": "No valid API key",
    "402": "The run costs more credits than the account has",
    "409": "The job with this idempotency key was cancelled",
    "413": "The body is too large",
    "415": "Unsupported media type",
    "422": "A field is missing, unknown or invalid",
    "500": "A model failed",
    "501": "Not offered by this service",
    "503": "No model can answer now; try again later",
    "504": "The run took too long",
}


# The options of a run, the same for every graph.
PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "Prefer",
        "in": "header",
        "description": "`respond-async`: respond with the job at once. `wait=10`: wait 10 seconds for the result",
        "schema": {"type": "string"},
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key with the same request returns the same job for 24 hours",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    },
    {
        "name": "wait",
        "in": "query",
        "description": "Seconds to wait for the result, as `Prefer: wait`",
        "schema": {"type": "number", "minimum": 0, "maximum": 3600},
    },
    {
        "name": "priority",
        "in": "query",
        "description": "Priority of the job; higher runs first",
        "schema": {"type": "integer", "minimum": -10, "maximum": 10, "default": 0},
    },
    {
        "name": "timeout_s",
        "in": "query",
        "description": "Longest the job may run, in seconds, including retries",
        "schema": {"type": "number", "minimum": 0.1, "maximum": 604800},
    },
    {
        "name": "webhook",
        "in": "query",
        "description": "A public URL that is called when the job has ended",
        "schema": {"type": "string", "format": "uri"},
    },
]


def graph_operation(graph: Graph[..., Any]) -> dict[str, Any]:
    """The OpenAPI operation of a graph's route without its title; `openapi` fills in the schemas of its JSON."""
    content: dict[str, Any] = {"application/json": {"schema": {}, "example": example(graph.request)}}
    if graph.takes_media:
        content["multipart/form-data"] = {"schema": _as_form(graph.call)}
    problems = {
        status: {"description": text, "content": {"application/problem+json": {"schema": _named("Problem")}}}
        for status, text in PROBLEMS.items()
    }
    answer: dict[str, Any] = {"application/json": {"schema": {}}, "text/event-stream": {"schema": _events(graph)}}
    return {
        "parameters": PARAMETERS,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The result", "content": answer},
            "202": {
                "description": "The job, if the run continues as one",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **problems,
        },
    }


def _events(graph: Graph[..., Any]) -> dict[str, Any]:
    """The schema of a run's server-sent events, which OpenAPI can only describe in text."""
    pieces = f"`pieces` (lists of {graph.piece.__name__}), " if graph.piece else ""
    return {"type": "string", "description": f"Events: `step`, {pieces}then `result`, `error` or `job`"}


def _named(name: str) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=name)}


def _as_form(call: type[BaseModel]) -> dict[str, Any]:
    """The schema of a request as a form, in which media are files."""
    properties: dict[str, Any] = {}
    for name, field in call.model_fields.items():
        if has_media(field.annotation):
            properties[name] = {"type": "string", "format": "binary", "description": field.description or ""}
        else:
            kind: Any = field.annotation
            schema = TypeAdapter(kind).json_schema(ref_template=REFERENCE)
            schema.pop("$defs", None)
            properties[name] = {**schema, "description": field.description or ""}
    required = [name for name, field in call.model_fields.items() if field.is_required()]
    return {"type": "object", "properties": properties, "required": required}


def example(request: type[BaseModel]) -> dict[str, Any]:
    """A request made of the fields' examples, with media as a shortened data URL."""
    fields: dict[str, Any] = {}
    for name, field in request.model_fields.items():
        if field.examples:
            fields[name] = field.examples[0]
        elif field.is_required() and has_media(field.annotation):
            fields[name] = "data:application/octet-stream;base64,..."
    return fields


def openapi(app: FastAPI, graphs: Mapping[str, Graph[..., Any]]) -> dict[str, Any]:
    """The whole document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, routes=app.routes, summary="Generative AI on Ray Serve"
        )
        models = [(graph.call, "validation") for graph in graphs.values()]
        models += [(graph.result, "serialization") for graph in graphs.values()]
        references, definitions = models_json_schema(models, ref_template=REFERENCE)  # type: ignore[arg-type]
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for operation in (operation for path in document["paths"].values() for operation in path.values()):
            for body in operation.get("requestBody", {}).get("content", {}).values():
                schemas.update(body["schema"].pop("$defs", {}))
        schemas.update(definitions.get("$defs", {}), Problem=PROBLEM)
        for graph in graphs.values():  # pydantic distinguishes models of the same name in two graphs
            operation = document["paths"][f"/api/v1/graphs/{graph.name}"]["post"]
            answer = operation["responses"]["200"]["content"]
            operation["requestBody"]["content"]["application/json"]["schema"] = references[graph.call, "validation"]
            answer["application/json"]["schema"] = references[graph.result, "serialization"]
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"header": []}]
        app.openapi_schema = document
    return app.openapi_schema
