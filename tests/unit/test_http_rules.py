"""HTTP's own rules on every route: methods, preferences, codings, byte order marks, caching, old clients."""

import asyncio
import codecs
import gzip
import json
import re
from typing import Any

import httpx
import pytest

from deployments.errors import InvalidInput
from serve_app.gateway.http_app import nearest_routes
from serve_app.gateway.run_options import read_preferences

from .fakes import PICTURE, RECORDING, Writer
from .services import JOBS, KEY, RUN, Author, Make, Served, connect, ended, started
from .test_http import BEARER, HELLO, AppOf, Orator, app_of, refused  # noqa: F401  # a fixture

ARTIFACTS = "/api/v1/artifacts"


@pytest.fixture
async def client(served: Served) -> httpx.AsyncClient:
    return served.client()


async def uploaded(client: httpx.AsyncClient) -> str:
    answer = await client.post(ARTIFACTS, content=RECORDING.data, headers={"content-type": "audio/wav"})
    return answer.json()["id"]


def varying(headers: httpx.Headers) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in ("x-request-id", "date")}


# Methods -------------------------------------------------------------------------------------------------------------


async def test_head_answers_what_get_would_without_its_body(served: Served, client: httpx.AsyncClient) -> None:
    """On every path of the API that has GET, over the network too, where a body would break the connection."""
    artifact, job = await uploaded(client), await started(client)
    await ended(client, job)
    hook = (await client.post("/api/v1/webhooks", json={"url": "https://93.184.216.34/x"})).json()["id"]
    ids = {"/jobs/": job, "/status/": job, "/artifacts/": artifact, "/webhooks/": hook, "/generate/": job}
    document = (await client.get("/openapi.json")).json()
    paths = [path for path, item in document["paths"].items() if "get" in item and path not in ("/health", "/ready")]
    assert len(paths) > 15
    async with served.listening() as url, httpx.AsyncClient(base_url=url, headers=BEARER) as real:
        for path in [*paths, "/docs", "/openapi.json", "/nowhere", f"{JOBS}/job_0"]:
            for prefix, id in ids.items():
                path = re.sub(rf"(?<={prefix})\{{\w+\}}", id, path)
            path = path.replace("{graph}", "chat").replace("{model}", "author")
            got, head = await real.get(path), await real.head(path)
            assert (head.status_code, head.content) == (got.status_code, b""), path
            if "/events" not in path:
                assert varying(head.headers) == varying(got.headers), path


async def test_head_of_events_that_do_not_end_comes_at_once(served: Served, author: Author) -> None:
    author.seconds = 60
    client = served.client()
    id = await started(client)
    async with asyncio.timeout(5):
        answer = await client.head(f"{JOBS}/{id}/events")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    await client.post(f"{JOBS}/{id}/cancel")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/v1/webhooks", "GET, HEAD, OPTIONS, POST"),
        ("/api/v1/webhooks/whk_1", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/api/v1/artifacts/art_1", "DELETE, GET, HEAD, OPTIONS"),
        ("/api/v1/graphs/chat", "GET, HEAD, OPTIONS, POST"),
        ("/v1/chat/completions", "OPTIONS, POST"),
        ("/jobs/job_1", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_path_names_all_its_methods(path: str, methods: str, served: Served) -> None:
    """To OPTIONS, without a key as a browser's preflight sends it, and to a method that it does not take."""
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    for headers in ({}, asked, BEARER):
        answer = await connect(served.app, headers).options(path)
        assert (answer.status_code, answer.content, answer.headers["allow"]) == (204, b"", methods)
        assert not any(name.startswith("access-control-") for name in answer.headers)
    refusal = await served.client().patch(path, json={})
    assert (refusal.status_code, refusal.headers["allow"]) == (405, methods)
    assert (await served.client().options("/nowhere")).status_code == 404


async def test_a_page_of_an_allowed_origin_sends_any_header_and_reads_those_it_needs(make: Make) -> None:
    app = make(gateway={"cors_origins": ["https://a.example"]}).app
    headers = ["authorization", "x-stainless-lang", "x-stainless-retry-count", "idempotency-key", "if-range"]
    asked = {"access-control-request-method": "DELETE", "access-control-request-headers": ", ".join(headers)}
    preflight = await connect(app, {"origin": "https://a.example", **asked}).options("/v1/chat/completions")
    assert preflight.status_code == 200
    assert set(headers) <= set(preflight.headers["access-control-allow-headers"].split(", "))
    assert preflight.headers["access-control-allow-origin"] == "https://a.example"
    assert "DELETE" in preflight.headers["access-control-allow-methods"]
    answer = await connect(app, {"origin": "https://a.example", **BEARER}).get(JOBS)
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"retry-after", "etag", "content-range", "server-timing", "x-request-id"} <= set(exposed)
    assert "Origin" in answer.headers["vary"]
    plain = await connect(app, {"origin": "https://a.example", **BEARER}).options(JOBS)  # no preflight
    assert (plain.status_code, plain.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


# Preferences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "preferences"),
    [
        ([], {}),
        (["Respond-Async"], {"respond-async": ""}),
        (["RESPOND-ASYNC; x=1, Wait = 10"], {"respond-async": "", "wait": "10"}),
        (["handling=lenient", "wait=5", "wait=9"], {"handling": "lenient", "wait": "5"}),
        (['a="x, respond-async", b="y\\"z"'], {"a": "x, respond-async", "b": 'y\\"z'}),
        (['wait="10"'], {"wait": "10"}),
        ([",, ,wait=1,"], {"wait": "1"}),
        (['a="unclosed, wait=3'], {"a": "", "unclosed": "", "wait": "3"}),
        (["respond-asynchronously"], {"respond-asynchronously": ""}),
        (["ä, =3, ;x"], {}),
    ],
)
def test_preferences_are_read_as_the_standard_says(headers: list[str], preferences: dict[str, str]) -> None:
    assert read_preferences(headers) == preferences


@pytest.mark.parametrize(
    ("prefer", "status"),
    [
        (["Respond-Async"], 202),
        (["handling=lenient", "RESPOND-ASYNC"], 202),
        (["return=minimal, respond-async"], 202),
        (['x="respond-async"'], 200),
        (["wait=soon"], 200),
        (["respond-async, wait=10"], 200),  # a job, unless the result comes within the wait
        (["WAIT=0"], 202),
        (["Wait = 0.01", "wait=60"], 202),
    ],
)
async def test_a_preference_counts_in_any_case_and_header(
    prefer: list[str], status: int, client: httpx.AsyncClient, author: Author
) -> None:
    author.seconds = 0.05
    headers: Any = [("prefer", value) for value in prefer]
    answer = await client.post(RUN, json={"steps": 1}, headers=headers)
    assert answer.status_code == status
    if status == 202:
        await ended(client, answer.json()["id"])


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        (["text/event-stream"], True),
        (["Text/Event-Stream; charset=utf-8"], True),
        (["application/json, text/event-stream;q=0.5"], True),
        (["application/json", "text/event-stream"], True),
        (["text/event-stream;q=0, application/json"], False),
        (["text/event-stream; q=0.000"], False),
        (["text/event-streams, x-text/event-stream"], False),
        (["*/*"], False),
        ([], False),
    ],
)
async def test_events_come_to_who_accepts_them(accept: list[str], events: bool, client: httpx.AsyncClient) -> None:
    headers: Any = [("accept", value) for value in accept]
    answer = await client.post(RUN, json={"steps": 1}, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream") == events


# Bodies --------------------------------------------------------------------------------------------------------------


BODIES = [
    ("POST", "/api/v1/graphs/chat", HELLO),
    ("POST", "/v1/chat/completions", HELLO),
    ("POST", "/jobs", {"graph": "steps"}),
    ("POST", "/api/v1/webhooks", {"url": "https://93.184.216.34/x"}),
]


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "deflate, gzip", "x"])
@pytest.mark.parametrize(("method", "path", "body"), BODIES)
async def test_a_body_in_a_coding_is_415_and_says_what_is_accepted(
    method: str, path: str, body: Any, coding: str, client: httpx.AsyncClient
) -> None:
    headers = {"content-type": "application/json", "content-encoding": coding}
    answer = await client.request(method, path, content=gzip.compress(json.dumps(body).encode()), headers=headers)
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")
    document = answer.json()
    assert "content-encoding" in (document["error"]["message"] if path.startswith("/v1") else document["detail"])
    headers["content-encoding"] = "identity"
    answer = await client.request(method, path, content=json.dumps(body).encode(), headers=headers)
    assert answer.is_success, answer.text


@pytest.mark.parametrize("kind", ["application/json", "APPLICATION/JSON", "Application/Json ; Charset=UTF-8"])
@pytest.mark.parametrize(("method", "path", "body"), BODIES)
async def test_json_is_read_with_a_byte_order_mark_and_any_spelling_of_its_type(
    method: str, path: str, body: Any, kind: str, client: httpx.AsyncClient
) -> None:
    content = codecs.BOM_UTF8 + json.dumps(body).encode()
    answer = await client.request(method, path, content=content, headers={"content-type": kind})
    assert answer.is_success, answer.text


async def test_an_uploaded_file_keeps_its_byte_order_mark(client: httpx.AsyncClient) -> None:
    data = codecs.BOM_UTF8 + b"{}"
    id = (await client.post(ARTIFACTS, content=data, headers={"content-type": "application/json"})).json()["id"]
    assert (await client.get(f"{ARTIFACTS}/{id}")).content == data
    answer = await client.post(f"{ARTIFACTS}/{id}/url", content=codecs.BOM_UTF8 + b'{"seconds":5}')
    assert answer.status_code == 200


# Paths ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"{JOBS}/a%00b", f"{JOBS}/%00/events", "/api/v1/webhooks/%00", "/%00", "/status/%00"])
async def test_a_path_with_a_nul_names_nothing(path: str, client: httpx.AsyncClient) -> None:
    """No database is asked: PostgreSQL takes no such text."""
    answer = await client.get(path)
    assert refused(answer, 404)["type"].endswith("/not-found")
    assert (await client.head(path)).status_code == 404


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v1/completions", ""),
        ("/v1/responses", ""),
        ("/v1/batches", ""),
        ("/v1/files", ""),
        ("/api/v2/graphs", ""),
        ("/", ""),
        ("/favicon.ico", ""),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/audio/transcription", "/v1/audio/transcriptions"),
        ("/api/v1/identiti", "/api/v1/identity"),
    ],
)
async def test_a_route_is_hinted_at_only_if_it_is_really_close(path: str, hint: str, client: httpx.AsyncClient) -> None:
    answer = await client.post(path, json={})
    assert answer.status_code == 404
    document = answer.json()
    detail = document["error"]["message"] if path.startswith("/v1/") else document["detail"]
    assert detail == f"There is no route {path!r}." + (f" Did you mean {hint!r}?" if hint else "")


def test_a_misspelt_part_is_close_and_another_route_is_not() -> None:
    known = ["/v1/images/edits", "/v1/images/variations", "/v1/models", "/api/v1/models"]
    assert nearest_routes("/v1/image/edits", known) == ["/v1/images/edits"]
    assert nearest_routes("/v1/images", known) == []
    assert nearest_routes("/models", known) == []


# Caching, ids, old clients -------------------------------------------------------------------------------------------


async def test_an_artifact_may_be_kept_by_who_asks_each_time(client: httpx.AsyncClient) -> None:
    path = f"{ARTIFACTS}/{await uploaded(client)}"
    first = await client.get(path)
    again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
    part = await client.get(path, headers={"range": "bytes=0-9"})
    assert [answer.status_code for answer in (first, again, part)] == [200, 304, 206]
    several: Any = [("if-none-match", '"other"'), ("if-none-match", f"W/{first.headers['etag']}")]
    assert (await client.get(path, headers=several)).status_code == 304
    for answer in (first, again, part, await client.head(path)):
        assert answer.headers.get_list("cache-control") == ["private, no-cache"]
    for answer in (await client.get(f"{path}/metadata"), await client.get(f"{path}0"), await client.get(JOBS)):
        assert answer.headers.get_list("cache-control") == ["no-store"]


@pytest.mark.parametrize("path", ["/api/v1/identity", "/nowhere", "/v1/models"])
async def test_a_malformed_request_id_is_replaced(path: str, client: httpx.AsyncClient) -> None:
    for given in ("two words", "<b>", "x" * 129, b"\xff"):
        headers: Any = {"x-request-id": given}
        (answered,) = (await client.get(path, headers=headers)).headers.get_list("x-request-id")
        assert re.fullmatch("[0-9a-f]{32}", answered)


async def raw(url: str, request: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("method", "path", "body", "accept"),
    [
        ("GET", f"{JOBS}/ID/events", b"", "text/event-stream"),
        ("POST", "/v1/audio/speech", b'{"input":"Hello"}', "*/*"),
        ("POST", "/api/v1/graphs/steps", b"{}", "text/event-stream"),
        ("GET", "/api/v1/identity", b"", "*/*"),
        ("GET", "/nowhere", b"", "*/*"),
        ("HEAD", "/api/v1/identity", b"", "*/*"),
    ],
)
async def test_an_old_client_gets_no_chunks(method: str, path: str, body: bytes, accept: str, served: Served) -> None:
    client = served.client()
    id = await started(client)
    await ended(client, id)
    head = f"{method} {path.replace('ID', id)} HTTP/1.0\r\nauthorization: Bearer {KEY}\r\naccept: {accept}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    async with served.listening() as url:
        answer = await raw(url, head.encode() + body)
    headers, _, content = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in headers.lower()
    length = re.search(rb"content-length: (\d+)", headers)
    assert length and (method == "HEAD" or int(length[1]) == len(content))
    assert content or method == "HEAD"


# OpenAI's errors and models ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "how", "field"),
    [
        ("/v1/chat/completions", {"json": {"messages": []}}, "messages"),
        ("/v1/chat/completions", {"json": {**HELLO, "temperature": "x"}}, "temperature"),
        ("/v1/audio/speech", {"json": {}}, "input"),
        ("/v1/audio/speech", {"json": {"input": ""}}, "input"),
        ("/v1/images/generations", {"json": {"prompt": "x", "size": "1x1"}}, "size"),
        ("/v1/images/generations", {"json": {"prompt": "x", "n": 99}}, "n"),
        ("/v1/images/variations", {"files": {"image": b"x"}}, "image"),
        ("/v1/audio/transcriptions", {"files": {"file": PICTURE.data}}, "file"),
        ("/v1/chat/completions", {"content": b"{}", "headers": {"content-type": "text/x"}}, "content-type"),
    ],
)
async def test_openais_errors_name_the_field_in_message_and_param(
    path: str, how: dict[str, Any], field: str, client: httpx.AsyncClient
) -> None:
    error = (await client.post(path, **how)).json()["error"]
    assert error["param"] == field
    assert error["message"].startswith(f"{field}: ")


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_model_refuses_has_openais_name_of_the_field(stream: bool, app_of: AppOf) -> None:  # noqa: F811
    client = connect(app_of(Writer(InvalidInput("json_schema.type", "is odd"))))
    error = (await client.post("/v1/chat/completions", json={**HELLO, "stream": stream})).json()["error"]
    assert (error["param"], error["message"]) == ("response_format.type", "response_format.type: is odd")


async def test_an_error_in_the_middle_of_speech_has_openais_name_of_the_field(app_of: AppOf) -> None:  # noqa: F811
    class Choosy(Orator):
        async def stream(self, text: str, **options: Any) -> Any:  # type: ignore[override]
            async for piece in super().stream("one"):
                yield piece
            raise InvalidInput("text", "is too long")

    body = {"input": "one two", "stream_format": "sse"}
    answer = await connect(app_of(speaker=Choosy())).post("/v1/audio/speech", json=body)
    error = json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]
    assert (error["param"], error["message"]) == ("input", "input: is too long")


async def test_a_failed_job_names_its_field_to_openais_clients(make: Make, author: Author) -> None:
    from serve_app.accounts import ledger

    served = make(prices={"chat": 1})
    await served.database.write(ledger.grant, "local", 5)
    author.fails = [InvalidInput("seed", "is odd")]
    answer = await served.client().post("/v1/chat/completions", json=HELLO)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "seed")
    assert answer.json()["error"]["message"] == "seed: is odd"


async def test_models_are_marked_and_every_name_that_is_taken_is_retrievable(client: httpx.AsyncClient) -> None:
    rows = {row["id"]: row["capabilities"] for row in (await client.get("/v1/models")).json()["data"]}
    assert rows["author"] == ["Language", "TextToImage"]
    assert rows["ears"] == ["SpeechToText"]
    every = sorted({capability for capabilities in rows.values() for capability in capabilities})
    for name, capabilities in {"default": every, "auto": every, "author:support": rows["author"], **rows}.items():
        answer = (await client.get(f"/v1/models/{name}")).json()
        assert (answer["id"], answer["object"], answer["capabilities"]) == (name, "model", capabilities)
    for name in ("nobody", "ears:support", "nobody:support", "Default"):
        answer = await client.get(f"/v1/models/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
