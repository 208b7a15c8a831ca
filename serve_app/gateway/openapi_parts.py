"""The parts that the routes' OpenAPI operations are made of: parameters, answers, and the schemas of Medley's objects.

Routes read their requests and write their answers themselves, so what FastAPI finds in their signatures is not enough.
The names of these schemas have a dot, which no class has: a graph's own `Job` cannot take the place of this one.
"""

from collections.abc import Mapping
from typing import Any

from ..jobs.job import STATUSES
from ..webhooks.endpoints import EVENTS

Schema = dict[str, Any]

JSON, SSE, PROBLEM_JSON = "application/json", "text/event-stream", "application/problem+json"
BINARY: Schema = {"type": "string", "format": "binary"}
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
ANY_OBJECT: Schema = {"type": "object", "additionalProperties": True}
ANYTHING: Schema = {}


def ref(name: str) -> Schema:
    """A reference to one of the `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/medley.{name}"}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def listed(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def record(optional: Mapping[str, Schema] | None = None, /, **fields: Schema) -> Schema:
    """An object that has every one of the fields, and perhaps the optional ones."""
    return {"type": "object", "required": list(fields), "properties": {**fields, **(optional or {})}}


def page_of(name: str, item: str) -> Schema:
    return record(**{name: listed(ref(item)), "next_cursor": maybe(TEXT)})


# The schemas ---------------------------------------------------------------------------------------------------------

MODEL = record(name=TEXT, backend=TEXT, capabilities=listed(TEXT))
STEP = record(
    name=TEXT,
    model=TEXT,
    status=TEXT,
    attempts=WHOLE,
    started_at=maybe(TIME),
    seconds=NUMBER,
    cached=FLAG,
    output=ANYTHING,
)
PROGRESS = record(step=maybe(TEXT), done=WHOLE, steps=WHOLE, fraction=maybe(NUMBER), eta_seconds=maybe(NUMBER))
SUMMARY_FIELDS: dict[str, Schema] = {
    "id": TEXT,
    "graph": TEXT,
    "status": one_of(*STATUSES),
    "priority": WHOLE,
    "error": maybe(ANY_OBJECT),
    "progress": maybe(PROGRESS),
    "metrics": record(attempts=WHOLE, queued_seconds=maybe(NUMBER), run_seconds=maybe(NUMBER)),
    "price": WHOLE,
    "charged": maybe(WHOLE),
    "cancel_requested": FLAG,
    "created_at": TIME,
    "started_at": maybe(TIME),
    "finished_at": maybe(TIME),
    "expires_at": maybe(TIME),
    "urls": record(get=TEXT, cancel=TEXT, retry=TEXT, events=TEXT, result=TEXT),
}
GRAPH_FIELDS: dict[str, Schema] = {
    "name": TEXT,
    "title": TEXT,
    "description": TEXT,
    "price": WHOLE,
    "streams": FLAG,
    "models": {
        "type": "object",
        "additionalProperties": record(capability=TEXT, models=listed(TEXT)),
    },
}
ARTIFACT = record(
    id=TEXT,
    media_type=TEXT,
    size=WHOLE,
    digest=TEXT,
    folder=TEXT,
    job_id=maybe(TEXT),
    created_at=TIME,
    expires_at=maybe(TIME),
    url=TEXT,
)
WEBHOOK_FIELDS: dict[str, Schema] = {
    "id": TEXT,
    "url": TEXT,
    "events": listed(one_of(*EVENTS, "job.own")),
    "enabled": FLAG,
    "created_at": TIME,
    "disabled_at": maybe(TIME),
    "disabled_reason": maybe(TEXT),
}
ATTEMPT = record(number=WHOLE, at=TIME, seconds=NUMBER, status_code=maybe(WHOLE), error=maybe(TEXT))
DELIVERY = record(
    id=TEXT,
    webhook_id=TEXT,
    job_id=maybe(TEXT),
    type=TEXT,
    status=TEXT,
    body=TEXT,
    created_at=TIME,
    next_at=maybe(TIME),
    delivered_at=maybe(TIME),
    attempts=listed(ATTEMPT),
)
PROBLEM = record(
    {
        "instance": TEXT,
        "request_id": TEXT,
        "errors": listed(record(field=TEXT, detail=TEXT, code=TEXT)),
    },
    type={"type": "string", "format": "uri"},
    title=TEXT,
    status=WHOLE,
    detail=TEXT,
)
OPENAI_MODEL = record(id=TEXT, object=TEXT, created=WHOLE, owned_by=TEXT, capabilities=listed(TEXT))
SCHEMAS: dict[str, Schema] = {
    "Problem": {**PROBLEM, "description": "A problem document (RFC 9457)"},
    "Job": record(**SUMMARY_FIELDS, input=ANY_OBJECT, output=maybe(ANY_OBJECT), steps=listed(STEP)),
    "JobSummary": record(**SUMMARY_FIELDS),
    "Jobs": page_of("jobs", "JobSummary"),
    "Graphs": record(graphs=listed(record(**GRAPH_FIELDS))),
    "Graph": record(**GRAPH_FIELDS, input=ANY_OBJECT, output=ANY_OBJECT),
    "Models": record(models=listed(MODEL)),
    "Ranking": record(category=TEXT, models=listed(record(name=TEXT, points=NUMBER, fits=FLAG, why=listed(TEXT)))),
    "Identity": record(user=TEXT, project=TEXT, scopes=listed(TEXT)),
    "Artifact": ARTIFACT,
    "Artifacts": page_of("artifacts", "Artifact"),
    "SignedURL": record(url=TEXT, expires_at=TIME),
    "Webhook": record({"secret": TEXT}, **WEBHOOK_FIELDS),
    "Webhooks": page_of("webhooks", "Webhook"),
    "Delivery": DELIVERY,
    "Deliveries": page_of("deliveries", "Delivery"),
    "Health": record(
        status=one_of("healthy", "degraded", "unhealthy"),
        models=listed(
            record(
                {"message": TEXT},
                name=TEXT,
                capabilities=listed(TEXT),
                status=TEXT,
                serves=FLAG,
                given_up=FLAG,
                replicas=WHOLE,
            )
        ),
    ),
    "Ready": record(ready=FLAG, waiting_for=listed(TEXT)),
    "OpenAIError": record(error=record(message=TEXT, type=TEXT, param=maybe(TEXT), code=maybe(TEXT))),
    "OpenAIModel": OPENAI_MODEL,
    "OpenAIModels": record(object=TEXT, data=listed(OPENAI_MODEL)),
    "ChatCompletion": record(
        id=TEXT, object=TEXT, created=WHOLE, model=TEXT, choices=listed(ANY_OBJECT), usage=ANY_OBJECT
    ),
    "Embeddings": record(object=TEXT, data=listed(ANY_OBJECT), model=TEXT, usage=ANY_OBJECT),
    "Moderations": record(id=TEXT, model=TEXT, results=listed(ANY_OBJECT)),
    "Rerank": record(id=TEXT, model=TEXT, results=listed(ANY_OBJECT), usage=ANY_OBJECT),
    "Images": record(created=WHOLE, data=listed(record({"url": TEXT, "b64_json": TEXT})), output_format=TEXT),
    "Transcription": record(
        {
            "task": TEXT,
            "language": maybe(TEXT),
            "duration": NUMBER,
            "segments": listed(ANY_OBJECT),
            "words": listed(ANY_OBJECT),
        },
        text=TEXT,
    ),
}


# Operations ----------------------------------------------------------------------------------------------------------


def query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def header(name: str, description: str, schema: Schema = TEXT) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def answer(description: str, schema: Schema | None = None, headers: Mapping[str, str] | None = None) -> Schema:
    """An answer in JSON, or without a body; `headers` have a description each."""
    content = {} if schema is None else {JSON: schema}
    return answer_in(description, content, headers)


def answer_in(description: str, content: Mapping[str, Schema], headers: Mapping[str, str] | None = None) -> Schema:
    """An answer in one of several media types."""
    parts: Schema = {"description": description}
    if content:
        parts["content"] = {kind: {"schema": schema} for kind, schema in content.items()}
    if headers:
        parts["headers"] = {name: {"description": text, "schema": TEXT} for name, text in headers.items()}
    return parts


def operation(
    answers: Mapping[int, Schema], parameters: list[Schema] | None = None, body: Schema | None = None
) -> Schema:
    """What a route says of itself: its answers but for errors, its parameters but for the path's, its body."""
    parts: Schema = {"responses": {str(status): described for status, described in answers.items()}}
    if parameters:
        parts["parameters"] = parameters
    return {**parts, **(body or {})}


def refusal(description: str) -> Schema:
    """A problem that only some routes have; `openapi` adds those that all have."""
    return answer_in(description, {PROBLEM_JSON: ref("Problem")})


def body_in(content: Mapping[str, Schema], required: bool = True) -> Schema:
    """The body of an operation in one of several media types."""
    return {"requestBody": {"required": required, "content": {kind: {"schema": s} for kind, s in content.items()}}}


PAGE_PARAMETERS = [
    query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Items in the page"),
    query("cursor", TEXT, "`next_cursor` of the page before"),
]
