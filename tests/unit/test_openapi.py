"""The OpenAPI document against the service: it can be followed, and every answer is one that it declares."""

import copy
import fnmatch
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel

from deployments.audio import FORMATS, PCM_TYPE
from deployments.capabilities import Language
from graphs import GRAPHS
from serve_app.config.schema import AppConfig
from serve_app.gateway.openapi import ALIAS_OF
from serve_app.gateway.openapi_parts import JSON, PROBLEM_JSON, SSE
from serve_app.graph import graph
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import Model, Models

from .fakes import PICTURE, RECORDING
from .services import ASYNC, JOBS, OTHER_KEY, Author, Make, Served, Services, ended, started
from .test_http import references, resolve
from .test_surfaces import BY_NAME, FORM, HELLO, OPENAI, body_of

Document = dict[str, Any]
ARTIFACTS, HOOKS = "/api/v1/artifacts", "/api/v1/webhooks"


@pytest.fixture
async def document(served: Served) -> Document:
    async with served.client() as client:
        return (await client.get("/openapi.json")).json()


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


# The document --------------------------------------------------------------------------------------------------------


def test_the_document_is_valid_by_the_standards_own_schema(document: Document) -> None:
    validate(document)


def test_every_reference_leads_somewhere_and_every_schema_is_used(document: Document) -> None:
    found = set(references(document))
    for reference in found:
        assert isinstance(resolve(document, reference), dict), reference
    unused = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]} - found
    assert unused == set()


def test_every_parameter_of_a_path_is_declared_once(document: Document) -> None:
    for method, path, operation in operations(document):
        parameters = [(one["in"], one["name"]) for one in operation.get("parameters", ())]
        assert len(set(parameters)) == len(parameters), (method, path)
        assert {name for kind, name in parameters if kind == "path"} == set(re.findall(r"\{(\w+)\}", path))
        for parameter in operation.get("parameters", ()):
            assert parameter["schema"]
            assert parameter["in"] != "path" or parameter["required"]


def test_operations_have_ids_of_their_own_and_no_alias_is_left(document: Document) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert {"run_chat", "get_job", "upload_artifact", "openai_list_models", "alias_post_jobs"} <= set(ids)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in ids)  # names of functions in generated clients
    assert not any(ALIAS_OF in operation for _, _, operation in operations(document))


def test_every_operation_declares_its_answers_and_its_problems(document: Document) -> None:
    for method, path, operation in operations(document):
        answers = operation["responses"]
        assert any(status.startswith("2") for status in answers), (method, path)
        assert {"500", "503", "default"} <= set(answers)
        assert "401" in answers or path in ("/health", "/ready")
        assert "404" in answers or "{" not in path
        assert {"413", "415"} <= set(answers) or "requestBody" not in operation
        for status, answer in answers.items():
            assert answer["description"]
            if (status == "default" or status >= "400") and path not in ("/health", "/ready"):
                assert list(answer["content"]) == [JSON if path.startswith("/v1/") else PROBLEM_JSON], (path, status)
                assert "$ref" in next(iter(answer["content"].values()))["schema"]


def test_speech_declares_every_media_type_that_is_written(document: Document) -> None:
    content = document["paths"]["/v1/audio/speech"]["post"]["responses"]["200"]["content"]
    assert set(content) == {SSE, PCM_TYPE, *(media_type for media_type, _, _ in FORMATS.values())}


def test_no_two_schemas_have_the_same_title(document: Document) -> None:
    titles = [schema["title"] for schema in document["components"]["schemas"].values() if "title" in schema]
    assert [title for title in titles if titles.count(title) > 1] == []  # generators name classes by them


class Job(BaseModel):
    """A model with the name of one of Medley's objects."""

    title: str


class Function(BaseModel):
    """A model with the name of a part of OpenAI's requests."""

    seconds: float


class Hire(BaseModel):
    job: Job | None = None
    function: Function | None = None
    problem: str = ""


@graph(title="Hire")
async def hire(request: Hire, writer: Language) -> Job:
    return Job(title="x")


async def test_a_graphs_own_names_change_nothing_elsewhere(services: Services, author: Author) -> None:
    models = Models([Model("author", "fake", (Language,), LocalHandle(author))])
    config = AppConfig.model_validate({"models": [{"name": "author", "backend": "transformers"}]})
    graphs = {"hire": hire, "chat": BY_NAME["chat"]}
    async with services.make(config, graphs, models).client() as client:
        document = (await client.get("/openapi.json")).json()
    validate(document)
    for reference in set(references(document)):
        assert resolve(document, reference), reference
    answers = document["paths"]["/api/v1/graphs/hire"]["post"]["responses"]
    result = resolve(document, answers["200"]["content"][JSON]["schema"]["$ref"])
    job = resolve(document, answers["202"]["content"][JSON]["schema"]["$ref"])
    assert set(result["properties"]) == {"title"}
    assert {"urls", "metrics"} <= set(job["properties"])


# The service ---------------------------------------------------------------------------------------------------------


class Walk:
    """Sends requests, and holds each answer to the document."""

    def __init__(self, document: Document, client: httpx.AsyncClient) -> None:
        self._document, self._client = document, client
        self.seen: set[tuple[str, str]] = set()

    async def __call__(self, method: str, path: str, status: int, **how: Any) -> httpx.Response:
        answer = await self._client.request(method, path, **how)
        assert answer.status_code == status, (method, path, answer.text)
        template, operation = self._operation(method, path.partition("?")[0])
        self.seen.add((method.lower(), template))
        declared = operation["responses"].get(str(status))
        assert declared is not None, f"{method} {template} does not declare {status}"
        content = declared.get("content", {})
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if not content:
            assert (answer.content, kind) == (b"", ""), (method, template, status)
            return answer
        pattern = next((one for one in content if fnmatch.fnmatch(kind, one)), None)
        assert pattern, f"{method} {template} declares {list(content)} for {status}, not {kind}"
        if kind in (JSON, PROBLEM_JSON):
            schema = {**copy.deepcopy(content[pattern]["schema"]), "components": self._document["components"]}
            jsonschema.Draft202012Validator(schema).validate(answer.json())
            self._complete(content[pattern]["schema"], answer.json())
        return answer

    def _operation(self, method: str, path: str) -> tuple[str, Document]:
        paths = self._document["paths"]
        exact = [path] if path in paths else []
        for template in [*exact, *paths]:
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
            if re.fullmatch(pattern, path) and method.lower() in paths[template]:
                return template, paths[template][method.lower()]
        raise AssertionError(f"{method} {path} is not in the document")

    def _complete(self, schema: Document, value: Any) -> None:
        """No field of an object is missing from its schema."""
        while "$ref" in schema:
            schema = resolve(self._document, schema["$ref"])
        if isinstance(value, dict) and "properties" in schema:
            assert set(value) <= set(schema["properties"]), schema
            for name, inner in value.items():
                self._complete(schema["properties"][name], inner)
        if isinstance(value, list) and "items" in schema:
            for inner in value:
                self._complete(schema["items"], inner)


@pytest.fixture
async def walk(served: Served, document: Document) -> AsyncIterator[Walk]:
    async with served.client() as client:
        yield Walk(document, client)


async def walk_jobs(walk: Walk, client: httpx.AsyncClient, author: Author) -> None:
    id = (await walk("POST", "/api/v1/graphs/picture", 202, json={}, headers=ASYNC)).json()["id"]
    await ended(client, id)
    author.broken = {"square 0"}
    failed = await started(client, text="square")
    await ended(client, failed, "failed")
    await walk("GET", JOBS, 200)
    await walk("GET", f"{JOBS}?limit=0", 422)
    for one in (id, failed):
        await walk("GET", f"{JOBS}/{one}", 200)
    for path in ("", "/result", "/events"):
        await walk("GET", f"{JOBS}/none{path}", 404)
    last = str((await walk("GET", f"{JOBS}/{id}/events", 200)).text.count("id: "))
    await walk("GET", f"{JOBS}/{id}/events", 204, headers={"last-event-id": last})
    await walk("GET", f"{JOBS}/{id}/result", 200)
    await walk("GET", f"{JOBS}/{failed}/result", 422)
    await walk("POST", f"{JOBS}/{id}/cancel", 200)
    await walk("POST", f"{JOBS}/{id}/retry", 409)
    await walk("POST", f"{JOBS}/{failed}/retry", 202)
    for path in ("/api/generate/status", "/status", "/jobs"):
        await walk("GET", f"{path}/{id}", 200)
        await walk("GET", f"{path}/none", 404)
    await walk("GET", f"/api/generate/result/{id}", 200)
    await walk("POST", "/jobs", 202, json={"graph": "steps"})
    await walk("POST", "/jobs", 404, json={"graph": "stepps"})


async def walk_artifacts(walk: Walk) -> None:
    made = []
    for kind, data in (("audio/wav", RECORDING.data), ("image/png", PICTURE.data), (JSON, b"{}")):
        answer = await walk("POST", ARTIFACTS, 201, content=data, headers={"content-type": kind})
        made.append(f"{ARTIFACTS}/{answer.json()['id']}")
        tag = (await walk("GET", made[-1], 200)).headers["etag"]
        await walk("GET", made[-1], 304, headers={"if-none-match": tag})
    await walk("GET", made[0], 206, headers={"range": "bytes=0-1"})
    await walk("GET", made[0], 416, headers={"range": "bytes=99999-"})
    await walk("POST", ARTIFACTS, 201, files={"file": PICTURE.data})
    await walk("POST", ARTIFACTS, 415, content=b"x", headers={"content-type": "text/x"})
    await walk("GET", ARTIFACTS, 200)
    await walk("GET", f"{made[0]}/metadata", 200)
    await walk("POST", f"{made[0]}/url", 200, json={})
    await walk("POST", f"{made[0]}/url", 422, json={"seconds": 0})
    await walk("DELETE", made[0], 204)
    await walk("GET", made[0], 404)


async def walk_webhooks(walk: Walk) -> None:
    made = (await walk("POST", HOOKS, 201, json={"url": "https://93.184.216.34/x"})).json()
    one = f"{HOOKS}/{made['id']}"
    await walk("POST", HOOKS, 422, json={"url": "x"})
    await walk("GET", f"{HOOKS}?own=true", 200)
    await walk("GET", HOOKS, 200)
    await walk("GET", one, 200)
    await walk("PUT", one, 200, json={"events": ["job.failed"]})
    await walk("POST", f"{one}/secret", 200)
    sent = (await walk("POST", f"{one}/test", 202)).json()["id"]
    await walk("GET", f"{one}/deliveries", 200)
    await walk("POST", f"{one}/deliveries/{sent}/replay", 202)
    await walk("POST", f"{one}/deliveries/none/replay", 404)
    await walk("DELETE", one, 204)


async def walk_service(walk: Walk) -> None:
    for path in ("identity", "models", "graphs", "graphs/chat", "models/auto?capability=Language&prompt=x"):
        await walk("GET", f"/api/v1/{path}", 200)
    await walk("GET", "/api/v1/models/auto", 422)
    await walk("GET", "/api/v1/models/auto?capability=Language&size=x", 422)
    await walk("GET", "/api/v1/models/auto?capability=Nothing", 404)
    await walk("GET", "/api/v1/graphs/none", 404)
    await walk("GET", "/v1/models", 200)
    await walk("GET", "/v1/models/default", 200)
    await walk("GET", "/v1/models/none", 404)


async def walk_openai(walk: Walk) -> None:
    for path, how in OPENAI:  # the fake paints from a text alone
        await walk("POST", path, 503 if path in ("/v1/images/edits", "/v1/images/variations") else 200, **how)
        await walk("POST", path, 415, content=b"x", headers={"content-type": "text/x"})
        await walk(
            "POST", path, 400, **({"json": {"model": 1}} if "json" in how else {"files": {"model": (None, "x")}})
        )
    for form in ("text", "srt", "vtt", "verbose_json"):
        await walk("POST", "/v1/audio/transcriptions", 200, files={**FORM, "response_format": (None, form)})
    body = {"messages": HELLO, "tools": [{"type": "custom"}]}
    await walk("POST", "/v1/chat/completions", 501, json=body)
    await walk("POST", "/v1/chat/completions", 404, json={"messages": HELLO, "model": "none"})


async def walk_graphs(walk: Walk) -> None:
    for name, found in BY_NAME.items():
        answer = await walk._client.post(f"/api/v1/graphs/{name}", json=body_of(found))
        await walk("POST", f"/api/v1/graphs/{name}", answer.status_code, json=body_of(found))
        await walk("POST", f"/api/v1/graphs/{name}", 422, json={"nothing": 1})
    for path, graph_name in (("/api/generate", "image_generation"), ("/api/smart-mask", "smart_mask")):
        native = await walk._client.post(f"/api/v1/graphs/{graph_name}", json=body_of(BY_NAME[graph_name]))
        await walk("POST", path, native.status_code, json=body_of(BY_NAME[graph_name]))
    for path in ("/generate", "/api/generate/async"):
        await walk("POST", path, 202, json={"prompt": "x"})
        await walk("POST", path, 422, json={})
    await walk("POST", "/api/image-utils/resize", 200, json=body_of(BY_NAME["image_resize"]))
    await walk("POST", "/api/image-utils/none", 404, json={})
    events = {"accept": SSE}
    await walk("POST", "/api/v1/graphs/chat", 200, json={"messages": HELLO}, headers=events)
    await walk("POST", "/api/v1/graphs/steps", 200, json={})


async def test_every_answer_is_one_that_the_document_declares(
    walk: Walk, served: Served, document: Document, author: Author
) -> None:
    await walk_jobs(walk, served.client(), author)
    await walk_artifacts(walk)
    await walk_webhooks(walk)
    await walk_service(walk)
    await walk_openai(walk)
    await walk_graphs(walk)
    every = {(method, path) for method, path, _ in operations(document)}
    assert every - walk.seen == {("get", "/health"), ("get", "/ready")}  # they ask Serve


async def test_what_every_route_may_refuse_is_declared_too(make: Make, document: Document, author: Author) -> None:
    """No key, no credit, too large a body, a coding."""
    strangers = make(gateway={"max_body_mb": 0.01}, prices={name: 5 for name in BY_NAME})
    async with strangers.client("wrong") as client:
        stranger = Walk(document, client)
        for method, path, _ in operations(document):
            if path not in ("/health", "/ready"):
                await stranger(method.upper(), re.sub(r"\{\w+\}", "x", path), 401)
    async with strangers.client(OTHER_KEY) as client:
        walk = Walk(document, client)
        for method, path, operation in operations(document):
            if "requestBody" in operation:
                path = re.sub(r"\{\w+\}", "x", path)
                await walk(method.upper(), path, 413, content=b"x" * 20_000)
                await walk(method.upper(), path, 415, content=b"x", headers={"content-encoding": "gzip"})
        await walk("POST", "/api/v1/graphs/speech", 402, json={"text": "x"})
        await walk("POST", "/v1/chat/completions", 402, json={"messages": HELLO})


@pytest.mark.parametrize("found", [found for found in GRAPHS if found.takes_media], ids=lambda found: found.name)
def test_a_form_has_the_fields_of_the_json(found: Any, document: Document) -> None:
    content = document["paths"][f"/api/v1/graphs/{found.name}"]["post"]["requestBody"]["content"]
    form = content["multipart/form-data"]["schema"]
    whole = resolve(document, content[JSON]["schema"]["$ref"])
    assert set(form["properties"]) == set(whole["properties"])
    assert sorted(form["required"]) == sorted(whole.get("required", []))
