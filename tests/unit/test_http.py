"""Every HTTP surface over fake models: what is asked, what is refused, and in which form."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import jsonschema
import pytest
from pydantic import BaseModel
from starlette.types import ASGIApp

from deployments.capabilities import AudioFormat, Language, Segment, Transcript
from deployments.errors import InvalidInput, ModelUnavailable
from deployments.media import Audio
from graphs import GRAPHS
from serve_app.clients.http import events
from serve_app.config.loading import load_graphs
from serve_app.config.schema import AppConfig
from serve_app.gateway.http_app import ExactPaths
from serve_app.graph import graph
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import bind_models
from serve_app.models.serve_status import DeploymentStatus, ServeStatus

from .fakes import PICTURE, RECORDING, Ears, Painter, Speaker, Tools, Writer
from .services import KEY, Services, connect

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
BEARER = {"authorization": f"Bearer {KEY}"}
BACKENDS = {
    "writer": "transformers",
    "second": "transformers",
    "painter": "diffusers",
    "ears": "hugging_face_speech_to_text",
    "speaker": "hugging_face_text_to_speech",
    "segmenter": "grabcut",
    "tools": "opencv",
}


class Text(BaseModel):
    text: str = ""


class Stenographer(Ears):
    """Hears word by word; after `words` of them it cannot any more."""

    def __init__(self, words: int = 100) -> None:
        super().__init__()
        self.words = words

    async def stream(
        self, audio: Audio, *, language: str | None = None, translate: bool = False, word_times: bool = False
    ) -> AsyncIterator[Transcript]:
        for number, word in enumerate(self.text.split()):
            if number >= self.words:
                raise ModelUnavailable("deaf")
            segment = Segment(start=number, end=number + 1, text=word)
            yield Transcript(text=word, language="en", seconds=3, segments=[segment])


class Orator(Speaker):
    """Speaks word by word; after `words` of them it cannot any more."""

    def __init__(self, words: int = 100) -> None:
        super().__init__()
        self.words = words

    async def stream(
        self,
        text: str,
        *,
        voice: str | None = None,
        speed: float | None = None,
        format: AudioFormat | None = None,
    ) -> AsyncIterator[Audio]:
        self.said.append((text, voice, format))
        for number, word in enumerate(text.split()):
            if number >= self.words:
                raise ModelUnavailable("hoarse")
            yield Audio(word.encode(), "audio/mpeg")


@graph(title="Break")
async def breaks(request: Text, writer: Language) -> Text:
    """A graph with a mistake in it."""
    await writer.chat([])
    raise ZeroDivisionError("in /secret/path")


@graph(title="Wait")
async def waits(request: Text) -> Text:
    """A graph that does not end."""
    await asyncio.Event().wait()
    return request


AppOf = Callable[..., ASGIApp]


@pytest.fixture
def app_of(services: Services) -> AppOf:
    """The whole gateway over fakes."""

    def made(
        writer: Writer | None = None,
        jobs: dict[str, Any] | None = None,
        ears: Ears | None = None,
        speaker: Speaker | None = None,
        **gateway: Any,
    ) -> ASGIApp:
        models: dict[str, Any] = {
            "writer": writer or Writer("A glowing circle."),
            "second": Writer("The second one."),
            "painter": Painter(),
            "ears": ears or Ears(),
            "speaker": speaker or Speaker(),
            "segmenter": object(),
            "tools": Tools(),
        }
        backends = BACKENDS | ({"ears": "faster_whisper"} if isinstance(ears, Stenographer) else {})
        backends |= {"speaker": "espeak"} if isinstance(speaker, Orator) else {}
        rows = [{"name": name, "backend": backends[name]} for name in models]
        config = AppConfig.model_validate({"models": rows, "gateway": gateway, "jobs": jobs or {}})
        handles = {name: LocalHandle(model) for name, model in models.items()}
        graphs = {**load_graphs(config.graphs), "breaks": breaks, "waits": waits}
        return services.make(config, graphs, bind_models(config, handles)).app

    return made


@pytest.fixture
async def client(app_of: AppOf) -> httpx.AsyncClient:
    return connect(app_of())


def refused(answer: httpx.Response, status: int, field: str = "") -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["instance"] == answer.request.url.path
    assert [error["field"] for error in document.get("errors", [])] == ([field] if field else [])
    return document


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer "},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"x-api-key": KEY[:-1]},
        {"x-api-key": KEY + "x"},
        {"authorization": "Bearer wrong", "x-api-key": KEY},
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/identity", "/api/v1/graphs/nothing", "/nowhere", "/api/v1/graphs/speech"])
async def test_without_the_key_nothing_is_told(headers: dict[str, str], path: str, app_of: AppOf) -> None:
    answer = await connect(app_of(), headers).get(path)
    assert refused(answer, 401)["type"].endswith("/unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY} "}, {"x-api-key": KEY}],
)
async def test_the_key_opens_in_each_of_its_headers(headers: dict[str, str], app_of: AppOf) -> None:
    answer = await connect(app_of(), headers).get("/api/v1/identity")
    assert answer.json() == {"user": "local", "project": "default", "scopes": ["*"]}


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_the_documents_need_no_key(path: str, app_of: AppOf) -> None:
    assert (await connect(app_of(), {}).get(path)).status_code == 200


async def test_openais_clients_are_refused_in_their_form(app_of: AppOf) -> None:
    answer = await connect(app_of(), {}).get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")


@pytest.mark.parametrize("given", ["my-request-7", "a.b:c_d", "x" * 128])
async def test_a_request_keeps_the_id_it_came_with(given: str, client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/identity", headers={"x-request-id": given})
    assert answer.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "<script>", "ä".encode("latin-1")])
async def test_a_request_gets_a_new_id_where_its_own_cannot_be_used(given: Any, client: httpx.AsyncClient) -> None:
    answers = [await client.get("/nowhere", headers={"x-request-id": given}) for _ in range(2)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(len(found) == 32 for found in ids)
    assert ids == {answer.json()["request_id"] for answer in answers}


async def test_every_answer_has_the_security_headers(client: httpx.AsyncClient, app_of: AppOf) -> None:
    for answer in (
        await client.get("/api/v1/identity"),
        await client.get("/nowhere"),
        await connect(app_of(), {}).get("/x"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "nearest"),
    [
        ("GET", "/api/v1/identiti", "'/api/v1/identity'"),
        ("GET", "/api/v1/graphs/speach", "'speech'"),
        ("POST", "/api/v1/graphs/speach", "'speech'"),
    ],
)
async def test_what_is_not_there_is_404_with_the_nearest(
    method: str, path: str, nearest: str, client: httpx.AsyncClient
) -> None:
    assert nearest in refused(await client.request(method, path, json={}), 404)["detail"]


async def test_an_unknown_model_is_404_in_both_apis(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/graphs/chat", json={**HELLO, "models": {"writer": "writter"}})
    assert "'writer'" in refused(answer, 404)["detail"]
    answer = await client.post("/v1/chat/completions", json={**HELLO, "model": "painter"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert (await client.get("/v1/models/painter")).json()["id"] == "painter"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_another_method_is_405_and_says_which_is_allowed(method: str, client: httpx.AsyncClient) -> None:
    answer = await client.request(method, "/api/v1/graphs/speech", json={})
    refused(answer, 405)
    assert answer.headers["allow"]


async def test_a_body_over_the_limit_is_413_announced_or_not(app_of: AppOf) -> None:
    client = connect(app_of(max_body_mb=0.001))
    refused(await client.post("/api/v1/graphs/chat", content=b"x" * 1001), 413)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 100

    refused(await client.post("/api/v1/graphs/chat", content=chunks()), 413)
    refused(await client.post("/api/v1/graphs/chat", content=chunks(), headers={"content-length": "-1"}), 413)
    body = json.dumps(HELLO).encode()
    assert (await client.post("/api/v1/graphs/chat", content=body.ljust(1000))).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
async def test_a_body_of_another_type_is_415(kind: str, client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/graphs/chat", content=b"{}", headers={"content-type": kind})
    refused(answer, 415, "content-type")
    answer = await client.post("/v1/chat/completions", content=b"{}", headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]["param"]) == (415, "content-type")


async def test_a_file_of_another_kind_is_415_and_a_wrong_value_422(client: httpx.AsyncClient) -> None:
    refused(await client.post("/api/v1/graphs/transcription", files={"audio": PICTURE.data}), 415, "audio")
    refused(await client.post("/api/v1/graphs/transcription", json={"audio": "x"}), 422, "audio")
    refused(await client.post("/api/v1/graphs/transcription", json={}), 422, "audio")
    for body in (b"{", b"[]", b"\xff"):
        refused(await client.post("/api/v1/graphs/chat", content=body), 422, "body")


async def test_an_unknown_field_is_422_with_the_nearest(client: httpx.AsyncClient) -> None:
    document = refused(await client.post("/api/v1/graphs/speech", json={"text": "x", "voise": "y"}), 422, "voise")
    assert "'voice'" in document["detail"]


async def test_what_a_model_refuses_is_told_by_field(app_of: AppOf) -> None:
    client = connect(app_of(Writer(InvalidInput("temperature", "is too hot"))))
    refused(await client.post("/api/v1/graphs/chat", json=HELLO), 422, "temperature")
    answer = await client.post("/v1/chat/completions", json=HELLO)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "temperature")


async def test_what_openai_offers_and_we_do_not_is_501(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/chat/completions", json={**HELLO, "tools": [{"type": "custom", "custom": {}}]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not-offered")


@pytest.mark.parametrize("prefer", ["wait=0.01", "wait=0", "handling=strict, wait=0.01"])
async def test_a_run_that_outlasts_the_callers_patience_is_202_with_the_job(
    prefer: str, client: httpx.AsyncClient
) -> None:
    async with asyncio.timeout(5):
        answer = await client.post("/api/v1/graphs/waits", json={}, headers={"prefer": prefer})
    job = answer.json()
    assert (answer.status_code, job["status"], job["graph"]) == (202, "running", "waits")
    assert answer.headers["location"] == job["urls"]["get"] == f"/api/v1/jobs/{job['id']}"


async def test_a_run_that_outlasts_the_services_patience_is_202_with_the_job(app_of: AppOf) -> None:
    async with asyncio.timeout(5):
        answer = await connect(app_of(wait_s=0.01)).post("/api/v1/graphs/waits", json={})
    assert (answer.status_code, answer.json()["status"]) == (202, "running")


async def test_a_run_that_outlasts_the_profiles_limit_is_504(app_of: AppOf) -> None:
    client = connect(app_of(jobs={"timeout_s": 0.05}))
    async with asyncio.timeout(5):
        refused(await client.post("/api/v1/graphs/waits", json={}), 504)
    async with asyncio.timeout(5):
        refused(await connect(app_of()).post("/api/v1/graphs/waits?timeout_s=0.1", json={}), 504)


async def test_a_model_that_cannot_answer_is_503_with_a_time_to_come_again(app_of: AppOf) -> None:
    client = connect(app_of(Writer(ModelUnavailable("no weights"))))
    answer = await client.post("/api/v1/graphs/chat", json={**HELLO, "models": {"writer": "writer"}})
    assert "no weights" in refused(answer, 503)["detail"]
    assert answer.headers["retry-after"] == "5"
    assert (await client.post("/api/v1/graphs/chat", json=HELLO)).json()["text"] == "The second one."


async def test_a_mistake_in_a_graph_is_500_and_tells_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/graphs/breaks", json={}, headers={"x-request-id": "id-1"})
    assert "id-1" in refused(answer, 500)["detail"]
    assert "/secret/path" not in answer.text


async def test_a_result_says_which_model_took_how_long(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/graphs/prompt_enhancement", json={"wish": "a circle"})
    assert answer.json() == {"prompt": "A glowing circle."}
    assert answer.headers["server-timing"].startswith("writer.chat;dur=")
    assert answer.headers["server-timing"].endswith('desc="writer"')


async def test_json_and_forms_are_the_same_request(client: httpx.AsyncClient) -> None:
    body = {"audio": RECORDING.url, "style": "[ink]", "models": {"writer": "second"}}
    as_json = await client.post("/api/v1/graphs/speech_to_image", json=body)
    parts = {
        "audio": ("a.wav", RECORDING.data),
        "style": (None, "[ink]"),
        "models": (None, json.dumps(body["models"])),
    }
    as_form = await client.post("/api/v1/graphs/speech_to_image", files=parts)
    assert (
        as_json.json()
        == as_form.json()
        == {
            "transcript": "a red circle",
            "prompt": "The second one.",
            "image": PICTURE.url,
        }
    )


async def steps_of(client: httpx.AsyncClient, graph: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    answer = await client.post(f"/api/v1/graphs/{graph}", json=body, headers={"accept": "text/event-stream"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return list(events(answer.iter_lines()))


async def test_events_are_steps_in_order_and_then_the_result(client: httpx.AsyncClient) -> None:
    *steps, result = await steps_of(client, "speech_to_image", {"audio": RECORDING.url})
    assert [(kind, step["name"], step["status"]) for kind, step in steps] == [
        ("step", name, status)
        for name in ("ears.transcribe", "writer.chat", "painter.generate")
        for status in ("running", "succeeded")
    ]
    expected = {"transcript": "a red circle", "prompt": "A glowing circle.", "image": PICTURE.url}
    assert result == ("result", expected)


async def test_the_last_event_of_a_run_that_fails_is_the_problem(app_of: AppOf) -> None:
    client = connect(app_of(Writer(InvalidInput("seed", "is odd"))))
    *steps, (kind, document) = await steps_of(client, "chat", HELLO)
    assert [step["status"] for _, step in steps] == ["running", "failed"]
    assert (kind, document["status"], document["detail"]) == ("error", 422, "seed: is odd")


async def test_a_mistake_in_a_graph_ends_its_events_and_tells_nothing(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(5):
        *_, (kind, document) = await steps_of(client, "breaks", {})
    assert (kind, document["status"]) == ("error", 500)
    assert "/secret/path" not in document["detail"]


async def test_a_text_with_line_separators_is_one_event(app_of: AppOf) -> None:
    text = "one\u2028two\u2029three\x85four"
    assert (await steps_of(connect(app_of(Writer(text))), "chat", HELLO))[-1][1]["text"] == text


async def test_bad_input_has_its_status_when_events_are_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/graphs/chat", json={}, headers={"accept": "text/event-stream"})
    refused(answer, 422, "messages")


async def test_openais_chat_answers_at_once_and_as_it_is_written(client: httpx.AsyncClient) -> None:
    whole = (await client.post("/v1/chat/completions", json={**HELLO, "model": "second"})).json()
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "The second one."}
    assert (whole["model"], whole["usage"]["total_tokens"]) == ("second", 3)
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    lines = (await client.post("/v1/chat/completions", json=body)).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    *chunks, usage = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["A ", "glowing ", "circle.", ""]
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks] == ["assistant", None, None, None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert usage["usage"]["total_tokens"] == 3


async def test_an_error_before_the_first_word_has_its_status(app_of: AppOf) -> None:
    client = connect(app_of(Writer(InvalidInput("seed", "is odd"))))
    answer = await client.post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "seed")


@pytest.mark.parametrize(
    ("form", "kind", "text"),
    [
        ("json", "application/json", '{"text":"a red circle"}'),
        ("text", "text/plain; charset=utf-8", "a red circle\n"),
        ("srt", "application/x-subrip", "1\n00:00:00,000 --> 00:00:01,500\na red circle\n"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na red circle\n"),
    ],
)
async def test_openais_transcriptions_come_in_the_form_asked_for(
    form: str, kind: str, text: str, client: httpx.AsyncClient
) -> None:
    parts = {"file": ("a.wav", RECORDING.data), "response_format": (None, form)}
    answer = await client.post("/v1/audio/transcriptions", files=parts)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (200, kind, text)


@pytest.mark.parametrize(
    ("ears", "deltas", "end"),
    [
        (Stenographer(), ["a", " red", " circle"], "a red circle"),
        (Ears(), ["a red circle"], "a red circle"),  # one that does not stream
        (Stenographer(words=2), ["a", " red"], None),
    ],
)
async def test_openais_transcriptions_come_as_they_are_heard(
    ears: Ears, deltas: list[str], end: str | None, app_of: AppOf
) -> None:
    parts = {"file": ("a.wav", RECORDING.data), "stream": (None, "true")}
    answer = await connect(app_of(ears=ears)).post("/v1/audio/transcriptions", files=parts)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    assert [one["delta"] for one in told if one.get("type") == "transcript.text.delta"] == deltas
    assert (told[-1].get("text") if end else told[-1]["error"]["message"]) == (end or "ears: deaf")


async def test_an_error_before_anything_is_heard_has_its_status(app_of: AppOf) -> None:
    parts = {"file": ("a.wav", RECORDING.data), "stream": (None, "true")}
    client = connect(app_of(ears=Stenographer(words=0)))
    assert (await client.post("/v1/audio/transcriptions", files=parts)).status_code == 503


async def test_parts_of_a_form_may_be_named_as_a_list(client: httpx.AsyncClient) -> None:
    """As OpenAI's own client names them."""
    parts = [("file", ("a.wav", RECORDING.data)), ("timestamp_granularities[]", (None, "word"))]
    assert (await client.post("/v1/audio/transcriptions", files=parts)).status_code == 200
    wrong = [parts[0], ("timestamp_granularities[]", (None, "letter"))]
    answer = await client.post("/v1/audio/transcriptions", files=wrong)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("timestamp_granularities")


async def test_openais_images_and_speech_are_the_models_own(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a circle", "n": 2, "size": "64x32"}
    data = (await client.post("/v1/images/generations", json=body)).json()["data"]
    assert [base64.b64decode(image["b64_json"]) for image in data] == [PICTURE.data] * 2
    answer = await client.post("/v1/audio/speech", json={"input": "Hello"})
    assert (answer.content, answer.headers["content-type"]) == (RECORDING.data, "audio/wav")
    wrong = await client.post("/v1/images/generations", json={"prompt": "a circle", "size": "1x1"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "size")


async def test_openais_speech_comes_as_it_is_spoken(app_of: AppOf) -> None:
    speaker = Orator()
    client = connect(app_of(speaker=speaker))
    async with client.stream("POST", "/v1/audio/speech", json={"input": "one two three", "voice": "v"}) as answer:
        pieces = [piece async for piece in answer.aiter_raw()]
    assert (answer.headers["content-type"], "content-length" in answer.headers) == ("audio/mpeg", False)
    assert b"".join(pieces) == b"onetwothree"
    wav = {"input": "one two", "response_format": "wav"}
    whole = await client.post("/v1/audio/speech", json=wav)
    assert (whole.content, whole.headers["content-length"]) == (RECORDING.data, str(len(RECORDING.data)))
    asked = await client.post("/v1/audio/speech", json={**wav, "stream_format": "audio"})
    assert asked.content == b"onetwo"
    assert [(text, form) for text, _, form in speaker.said] == [
        ("one two three", "mp3"),
        ("one two", "wav"),
        ("one two", "wav"),
    ]


@pytest.mark.parametrize(
    ("speaker", "deltas", "end"),
    [
        (Orator(), [b"one", b"two", b"three"], None),
        (Speaker(), [RECORDING.data], None),  # one that does not stream
        (Orator(words=2), [b"one", b"two"], "speaker: hoarse"),
    ],
)
async def test_openais_speech_comes_as_events(
    speaker: Speaker, deltas: list[bytes], end: str | None, app_of: AppOf
) -> None:
    body = {"input": "one two three", "stream_format": "sse"}
    answer = await connect(app_of(speaker=speaker)).post("/v1/audio/speech", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *told, last = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    assert [base64.b64decode(one["audio"]) for one in told if one["type"] == "speech.audio.delta"] == deltas
    assert (last["error"]["message"] if end else last["type"]) == (end or "speech.audio.done")


async def test_speech_that_breaks_off_is_no_whole_file_and_an_error_before_it_has_its_status(app_of: AppOf) -> None:
    never = await connect(app_of(speaker=Orator(words=0))).post("/v1/audio/speech", json={"input": "one two"})
    assert never.status_code == 503
    transport = httpx.ASGITransport(app_of(speaker=Orator(words=1)))
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://medley", headers=headers) as bare:
        with pytest.raises(ModelUnavailable):  # a server ends the connection then, before the end of the file
            await bare.post("/v1/audio/speech", json={"input": "one two"})


async def test_models_and_graphs_are_listed(client: httpx.AsyncClient) -> None:
    rows = (await client.get("/api/v1/models")).json()["models"]
    assert [(row["name"], row["backend"]) for row in rows] == list(BACKENDS.items())
    assert rows[0]["capabilities"] == ["Language"]
    listed = {row["name"]: row for row in (await client.get("/api/v1/graphs")).json()["graphs"]}
    assert listed["chat"]["models"] == {"writer": {"capability": "Language", "models": ["writer", "second"]}}
    one = (await client.get("/api/v1/graphs/chat")).json()
    assert set(one["input"]["properties"]) >= {"messages", "models"}
    assert set(one["output"]["properties"]) >= {"text"}


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def resolve(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


async def test_the_openapi_document_is_valid(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert (document["info"]["title"], bool(document["info"]["version"])) == ("Medley", True)
    for reference in set(references(document)):
        assert isinstance(resolve(document, reference), dict), reference
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["responses"]
        assert operation["summary"]
        for body in operation.get("requestBody", {"content": {}})["content"].values():
            jsonschema.Draft202012Validator.check_schema(body["schema"])
    for scheme in document["security"]:
        assert set(scheme) <= set(document["components"]["securitySchemes"])


@pytest.mark.parametrize("found", GRAPHS, ids=lambda found: found.name)
async def test_every_graph_is_in_the_openapi_document(found: Any, client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"][f"/api/v1/graphs/{found.name}"]["post"]
    assert (operation["summary"], operation["description"]) == (found.title, found.description)
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/json", *(["multipart/form-data"] if found.takes_media else [])}
    for body in content.values():
        schema = resolve(document, body["schema"]["$ref"]) if "$ref" in body["schema"] else body["schema"]
        assert set(schema["properties"]) == set(found.call.model_fields)
    answers = operation["responses"]["200"]["content"]
    result = resolve(document, answers["application/json"]["schema"]["$ref"])
    assert set(result["properties"]) == set(found.result.model_fields)
    assert "text/event-stream" in answers


@pytest.mark.parametrize(
    ("allowed", "origin"), [(["*"], "https://any.example"), (["https://a.example"], "https://a.example")]
)
async def test_a_page_of_an_allowed_origin_may_call(allowed: list[str], origin: str, app_of: AppOf) -> None:
    client = connect(app_of(cors_origins=allowed), {})
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    preflight = await client.options("/api/v1/graphs/chat", headers={"origin": origin, **asked})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] in ("*", origin)
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    call = await client.post("/api/v1/graphs/chat", json=HELLO, headers={"origin": origin, **BEARER})
    assert call.headers["access-control-allow-origin"] in ("*", origin)
    assert "x-request-id" in call.headers["access-control-expose-headers"]
    failed = await client.post("/api/v1/graphs/chat", json=HELLO, headers={"origin": origin})
    assert (failed.status_code, "access-control-allow-origin" in failed.headers) == (401, True)


async def test_a_page_of_another_origin_may_not_call(app_of: AppOf) -> None:
    headers = {"origin": "https://b.example", "access-control-request-method": "POST"}
    preflight = await connect(app_of(cors_origins=["https://a.example"])).options(
        "/api/v1/graphs/chat", headers=headers
    )
    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers
    default = await connect(app_of()).options("/api/v1/graphs/chat", headers=headers)
    assert "access-control-allow-origin" not in default.headers


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/api/v1/identity", {}),
    ("GET", "/api/v1/graphs", {}),
    ("GET", "/v1/models", {}),
    ("POST", "/api/v1/graphs/chat", {"json": HELLO}),
    ("POST", "/api/v1/graphs/chat", {"json": {}}),
    ("POST", "/api/v1/graphs/chat", {"content": b"x", "headers": {"content-type": "text/plain"}}),
    ("POST", "/api/v1/graphs/chat", {"json": HELLO, "headers": {"prefer": "wait=x"}}),
    ("POST", "/api/v1/graphs/chat", {"json": HELLO, "headers": {"idempotency-key": "ä".encode("latin-1")}}),
    ("GET", "/api/v1/jobs", {}),
    ("GET", "/api/v1/jobs?limit=0", {}),
    ("GET", "/api/v1/artifacts", {}),
    ("GET", "/api/v1/webhooks", {}),
    ("POST", "/api/v1/graphs/chat", {"json": {**HELLO, "models": {"writer": "nobody"}}}),
    ("POST", "/api/v1/graphs/transcription", {"files": {"audio": ("a.wav", RECORDING.data)}}),
    ("POST", "/api/v1/graphs/transcription", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
    (
        "POST",
        "/api/v1/graphs/transcription",
        {"content": b"--", "headers": {"content-type": "multipart/form-data; boundary=b"}},
    ),
    ("POST", "/api/v1/graphs/breaks", {"json": {}}),
    ("POST", "/v1/chat/completions", {"json": {"messages": []}}),
    ("POST", "/v1/audio/speech", {"json": {"input": "Hello"}}),
    ("PUT", "/api/v1/graphs/chat", {"json": HELLO}),
    ("GET", "/nowhere", {}),
]


@pytest.mark.parametrize(("method", "path", "options"), REQUESTS)
async def test_the_short_way_answers_as_the_frameworks_own(
    method: str, path: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, app_of: AppOf
) -> None:
    async def ask() -> tuple[int, dict[str, str], str]:
        client = connect(app_of(), {**BEARER, "x-request-id": "id-1"})
        answer = await client.request(method, path, **options)
        headers = {name: value for name, value in answer.headers.items() if name != "server-timing"}
        return answer.status_code, headers, answer.text

    short = await ask()

    async def framework(self: ExactPaths, *asgi: Any) -> None:
        await self.app(*asgi)

    monkeypatch.setattr(ExactPaths, "__call__", framework)
    assert await ask() == short


@contextmanager
def serve_says(monkeypatch: pytest.MonkeyPatch, **status: str) -> Iterator[None]:
    found = {name: DeploymentStatus(name, status.get(name, "HEALTHY"), 1, "why") for name in BACKENDS}

    async def read(self: ServeStatus) -> dict[str, DeploymentStatus]:
        return found

    monkeypatch.setattr(ServeStatus, "read", read)
    yield


@pytest.mark.parametrize(
    ("status", "word", "code", "waiting"),
    [
        ({}, "healthy", 200, []),
        ({"second": "UNHEALTHY"}, "degraded", 200, ["second"]),
        ({"painter": "DEPLOY_FAILED"}, "unhealthy", 503, ["painter"]),
    ],
)
async def test_health_says_whether_every_capability_has_a_model(
    status: dict[str, str], word: str, code: int, waiting: list[str], monkeypatch: pytest.MonkeyPatch, app_of: AppOf
) -> None:
    with serve_says(monkeypatch, **status):
        app = app_of()
        health = await connect(app, {}).get("/health")
        ready = await connect(app, {}).get("/ready")
        told = await connect(app).get("/health")
    assert (health.status_code, health.json()["status"]) == (code, word)
    assert (ready.status_code, ready.json()["waiting_for"]) == (503 if waiting else 200, waiting)
    assert "why" not in health.text
    assert "why" in told.text
