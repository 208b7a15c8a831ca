"""The OpenAPI document. FastAPI does not parse the bodies of graph routes, so their schemas are added here."""

import copy
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from deployments.media import has_media

from ..graph import Graph
from .openapi_parts import JSON, PROBLEM_JSON, SCHEMAS, SSE, Schema, answer, answer_in, header, operation, ref

REFERENCE = "#/components/schemas/{model}"
PUBLIC = ("/health", "/ready")  # they need no key
OPENAI = "/v1/"
# The problems of an operation, and where they may happen.
PROBLEMS = {
    401: "No valid API key",
    402: "The run costs more credits than the account has",
    404: "There is nothing of this name or id",
    409: "Not possible in the present state",
    408: "The body came too slowly",
    413: "The body is too large, or what the caller keeps is",
    415: "A media type, or a coding of the body, that is not accepted",
    416: "The range is outside the bytes",
    422: "A value that is missing, unknown or invalid",
    429: "The caller has as many of something as a user may",
    500: "The service or a model failed",
    501: "Not offered by this service",
    503: "The service cannot answer now; try again later",
    504: "The run took too long",
}
ALWAYS, WITH_BODY, OF_RUNS = (401, 422, 500, 503), (408, 413, 415, 429), (402, 404, 409, 501, 504)
HEADERS = {
    401: {"WWW-Authenticate": "`Bearer`"},
    415: {"Accept-Encoding": "`identity`, if the body came in a coding"},
    503: {"Retry-After": "Seconds until another try is worthwhile"},
}
ALIAS_OF = "x-alias-of"  # in an alias: method and path of its native route, and whether it answers with the job at once


# The options of a run, the same for every graph.
PARAMETERS: list[Schema] = [
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


REQUEST_ID = header("X-Request-ID", "An id for the request, which its answer, its problem and the logs then have")
AS_JOB = [parameter for parameter in PARAMETERS if parameter["name"] not in ("Prefer", "wait")]
STARTED = answer("The job, if the run continues as one", ref("Job"), {"Location": "The job's path"})


def operation_id(route: APIRoute) -> str:
    """The name of an operation, which generated clients call it by: that of the route's function, `run_GRAPH` for a
    graph, `openai_...` for OpenAI's API, and for an alias its method and path.
    """
    if "aliases" in route.tags:
        return "_".join(["alias", min(route.methods).lower(), *re.findall(r"\w+", route.path_format)])
    return f"openai_{route.name}" if "openai" in route.tags else route.name


def graph_operation(graph: Graph[..., Any]) -> Schema:
    """The OpenAPI operation of a graph's route without its title; `openapi` fills in the schemas of its JSON."""
    content: dict[str, Any] = {JSON: {"schema": {}, "example": example(graph.request)}}
    if graph.takes_media:
        content["multipart/form-data"] = {"schema": _as_form(graph.call)}
    result = answer_in("The result", {JSON: {}, SSE: _events(graph)}, {"Server-Timing": "The time of each step"})
    body = {"requestBody": {"required": True, "content": content}}
    return operation({200: result, 202: STARTED}, PARAMETERS, body)


def _events(graph: Graph[..., Any]) -> Schema:
    """The schema of a run's server-sent events, which OpenAPI can only describe in text."""
    pieces = f"`pieces` (lists of {graph.piece.__name__}), " if graph.piece else ""
    return {"type": "string", "description": f"Events: `step`, {pieces}then `result`, `error` or `job`"}


def _as_form(call: type[BaseModel]) -> Schema:
    """The schema of a request as a form, in which media are files."""
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for name, field in call.model_fields.items():
        if has_media(field.annotation):
            properties[name] = {"type": "string", "format": "binary", "description": field.description or ""}
        else:
            kind: Any = field.annotation
            schema = TypeAdapter(kind).json_schema(ref_template=REFERENCE)
            definitions |= schema.pop("$defs", {})
            properties[name] = {**schema, "description": field.description or ""}
    required = [name for name, field in call.model_fields.items() if field.is_required()]
    return {"type": "object", "properties": properties, "required": required, "$defs": definitions}


def example(request: type[BaseModel]) -> dict[str, Any]:
    """A request made of the fields' examples, with media as a shortened data URL."""
    fields: dict[str, Any] = {}
    for name, field in request.model_fields.items():
        if field.examples:
            fields[name] = field.examples[0]
        elif field.is_required() and has_media(field.annotation):
            fields[name] = "data:application/octet-stream;base64,..."
    return fields


def openapi(app: FastAPI, graphs: Mapping[str, Graph[..., Any]]) -> Schema:
    """The whole document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, routes=app.routes, summary="Generative AI on Ray Serve"
        )
        document = copy.deepcopy(document)  # its parts are the routes' own
        for route in app.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in route.methods & {"GET", "POST", "PUT", "DELETE"}:
                    described = document["paths"][route.path_format][method.lower()]
                    described["responses"] = copy.deepcopy((route.openapi_extra or {}).get("responses", {}))
        components = document.setdefault("components", {})
        components["schemas"] = _schemas(document, graphs)
        for path, item in document["paths"].items():
            for method, described in item.items():
                described["responses"] |= _problems(path, method, described)
                if path in PUBLIC:
                    described["security"] = []
        _copy_aliases(document)
        for item in document["paths"].values():
            for described in item.values():
                described["parameters"] = [*described.get("parameters", ()), REQUEST_ID]
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"header": []}]
        app.openapi_schema = document
    return app.openapi_schema


def _schemas(document: Schema, graphs: Mapping[str, Graph[..., Any]]) -> Schema:
    """All schemas of the components; the graphs' operations get references to theirs."""
    models = [(graph.call, "validation") for graph in graphs.values()]
    models += [(graph.result, "serialization") for graph in graphs.values()]
    references, definitions = models_json_schema(models, ref_template=REFERENCE)  # type: ignore[arg-type]
    schemas: Schema = {}
    for item in document["paths"].values():
        for described in item.values():
            for body in described.get("requestBody", {}).get("content", {}).values():
                schemas |= body["schema"].pop("$defs", {})
    schemas |= definitions.get("$defs", {})
    schemas |= {f"medley.{name}": schema for name, schema in SCHEMAS.items()}
    for graph in graphs.values():  # pydantic distinguishes models of the same name in two graphs
        described = document["paths"][f"/api/v1/graphs/{graph.name}"]["post"]
        result = described["responses"]["200"]["content"]
        described["requestBody"]["content"][JSON]["schema"] = references[graph.call, "validation"]
        result[JSON]["schema"] = references[graph.result, "serialization"]
    titles = Counter(schema.get("title") for schema in schemas.values())
    for name, schema in schemas.items():
        if titles[schema.get("title")] > 1 and "title" in schema:  # generated clients name their classes by it
            schema["title"] = name
    return schemas


def _copy_aliases(document: Schema) -> None:
    """Give each alias the operation of its native route; one that starts a job at once has that answer only."""
    for item in document["paths"].values():
        for described in item.values():
            if ALIAS_OF not in described:
                continue
            method, native, at_once = described.pop(ALIAS_OF)
            same = copy.deepcopy(document["paths"][native][method])
            described |= {name: same[name] for name in ("parameters", "requestBody", "responses") if name in same}
            if at_once:
                described["parameters"] = copy.deepcopy(AS_JOB)
                del described["responses"]["200"]


def _problems(path: str, method: str, described: Schema) -> Schema:
    """The problems of an operation, each in the form that the path's clients understand."""
    options = {parameter["name"] for parameter in described.get("parameters", ())}
    runs = "Idempotency-Key" in options or (path.startswith(OPENAI) and method == "post")
    found = {*ALWAYS, *(WITH_BODY if "requestBody" in described else ()), *(OF_RUNS if runs else ())}
    if "{" in path:
        found |= {404, 409} if method == "post" or path.endswith("/result") else {404}
        found |= {402} if path.endswith("/retry") else set()
    if "206" in described["responses"]:
        found.add(416)
    if path in PUBLIC:
        found -= {401}
    if path.startswith(OPENAI):
        found = {400 if status == 422 else status for status in found}
        kind, schema = JSON, ref("OpenAIError")
    else:
        kind, schema = PROBLEM_JSON, ref("Problem")
    texts = {**PROBLEMS, 400: PROBLEMS[422]}
    answers = {
        str(status): answer_in(texts[status], {kind: schema}, HEADERS.get(status))
        for status in sorted(found)
        if str(status) not in described["responses"]
    }
    return {**answers, "default": answer_in("Another problem", {kind: schema})}
