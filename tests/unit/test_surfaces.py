"""One way to run a graph: every surface has its price, its pieces, its identity and its errors."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from rich.console import Console
from sqlalchemy import select
from starlette.responses import JSONResponse, Response

from deployments.capabilities import Delta, Language, Message
from deployments.errors import CallerError, InvalidInput, MedleyError, ModelUnavailable, Transient
from deployments.media import Audio, has_media
from graphs import GRAPHS
from serve_app.accounts import ledger
from serve_app.clients.batch import Rows
from serve_app.clients.http import RequestFailed, events, run_graph
from serve_app.clients.notebook import Medley
from serve_app.errors import InsufficientCredit, ModelFailed, RunTimedOut, ServiceError, UnpaidRun
from serve_app.gateway import server_sent_events
from serve_app.gateway.deployment import Gateway
from serve_app.gateway.http_app import ExactPaths
from serve_app.gateway.openapi import example
from serve_app.gateway.routes.aliases import ALIASES
from serve_app.gateway.server_sent_events import EventStream
from serve_app.gateway.sync_run import SyncRun
from serve_app.graph import Graph, graph
from serve_app.identity import Identity, current_identity
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import Model, Models
from serve_app.run import Executor, RunOptions
from serve_app.steps import Step
from serve_app.storage import tables

from .fakes import PICTURE, RECORDING
from .services import ASYNC, JOBS, KEY, Author, Make, Served, connect, ended, started, until

PRICE = 5
EVENTS = {"accept": "text/event-stream"}
BY_NAME = {found.name: found for found in GRAPHS}
HELLO = [{"role": "user", "content": "Hello"}]
FORM = {"file": ("a.wav", RECORDING.data)}
PICTURE_FORM = {"image": ("a.png", PICTURE.data), "prompt": (None, "a circle")}

# Each call of OpenAI's API: its path and how the request is made.
OPENAI: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"json": {"messages": HELLO}}),
    ("/v1/chat/completions", {"json": {"messages": HELLO, "stream": True}}),
    ("/v1/embeddings", {"json": {"input": ["a cat"]}}),
    ("/v1/moderations", {"json": {"input": "I will hurt you."}}),
    ("/v1/rerank", {"json": {"query": "who barks", "documents": ["a dog"]}}),
    ("/v1/images/generations", {"json": {"prompt": "a circle"}}),
    ("/v1/images/edits", {"files": PICTURE_FORM}),
    ("/v1/images/variations", {"files": {"image": ("a.png", PICTURE.data)}}),
    ("/v1/audio/transcriptions", {"files": FORM}),
    ("/v1/audio/transcriptions", {"files": {**FORM, "stream": (None, "true")}}),
    ("/v1/audio/translations", {"files": FORM}),
    ("/v1/audio/speech", {"json": {"input": "Hello"}}),
    ("/v1/audio/speech", {"json": {"input": "Hello", "response_format": "wav"}}),
    ("/v1/audio/speech", {"json": {"input": "Hello", "stream_format": "sse"}}),
]


def body_of(found: Graph[..., Any]) -> dict[str, Any]:
    """A request that the graph takes, from its fields' examples."""
    body = example(found.request)
    for name in body:
        annotation = found.request.model_fields[name].annotation
        if has_media(annotation) and name != "messages":  # which may be texts
            body[name] = (RECORDING if annotation is Audio else PICTURE).url
    if "mask" in found.request.model_fields:
        body["mask"] = PICTURE.url
    if "prompt" in found.request.model_fields:
        body["prompt"] = "a circle"
    if found.name == "image_crop":
        body["box"] = [0, 0, 1, 1]
    return body


@pytest.fixture
async def priced(make: Make) -> Served:
    """A service in which every graph has a price, and nobody credits."""
    return make(prices={name: PRICE for name in (*BY_NAME, "steps", "picture")})


@pytest.fixture
async def client(priced: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with priced.client() as client:
        yield client


def notebook(served: Served, on_step: Callable[[Any], None] | None = None) -> Medley:
    """A notebook's Medley beside a service, over the same models."""
    gateway = SimpleNamespace()
    gateway.execute = lambda *args: Gateway.execute(SimpleNamespace(service=served.service), *args)  # type: ignore[arg-type]
    config = served.service.config.model_copy(update={"graphs": ["graphs", "tests.jobs.work:steps"]})
    return Medley(config, served.service.models, on_step, LocalHandle(gateway))


async def ledger_of(served: Served) -> list[tuple[str, int]]:
    entries = select(tables.ledger.c.kind, tables.ledger.c.amount).order_by(tables.ledger.c.id)
    return [tuple(row) for row in await served.database.read(lambda c: c.execute(entries).all())]


@pytest.mark.parametrize("how", [{}, EVENTS, ASYNC, {"prefer": "wait=0"}], ids=["wait", "events", "job", "no wait"])
async def test_each_graph_without_credit_is_402_on_its_own_route(
    how: dict[str, str], client: httpx.AsyncClient
) -> None:
    for name, found in BY_NAME.items():
        answer = await client.post(f"/api/v1/graphs/{name}", json=body_of(found), headers=how)
        told = (answer.status_code, answer.json()["type"].rpartition("/")[2])
        assert told == (402, "insufficient-credit"), f"{name}: {answer.text}"


@pytest.mark.parametrize("alias", [one for one in ALIASES if one.method == "POST"], ids=lambda one: one.path)
async def test_a_graph_without_credit_is_402_on_its_aliases(alias: Any, client: httpx.AsyncClient) -> None:
    body = body_of(BY_NAME[alias.native.rpartition("/")[2]])
    assert (await client.post(alias.path, json=body)).status_code == 402


async def test_a_graph_without_credit_is_402_by_its_name_in_the_body(client: httpx.AsyncClient) -> None:
    assert (await client.post("/jobs", json={"graph": "steps", "input": {}})).status_code == 402
    assert (await client.post("/api/image-utils/resize", json=body_of(BY_NAME["image_resize"]))).status_code == 402


@pytest.mark.parametrize(("path", "request_"), OPENAI, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_graph_without_credit_is_402_for_openais_clients(
    path: str, request_: dict[str, Any], client: httpx.AsyncClient
) -> None:
    answer = await client.post(path, **request_)
    assert answer.status_code == 402, answer.text
    assert answer.json()["error"]["code"] == "insufficient-credit"


async def test_every_route_of_openais_that_runs_a_graph_is_walked(priced: Served) -> None:
    document = (await priced.client().get("/openapi.json")).json()
    routes = {path for path, item in document["paths"].items() if path.startswith("/v1/") and "post" in item}
    assert routes == {path for path, _ in OPENAI}


async def test_a_graph_without_credit_is_refused_in_a_notebook_and_in_a_batch(priced: Served, tmp_path: Path) -> None:
    medley = notebook(priced)
    with pytest.raises(InsufficientCredit, match="costs 5 credits"):
        await medley.graphs.steps(text="a")
    with pytest.raises(InsufficientCredit):
        _ = [piece async for piece in medley.graphs.chat.stream(messages=HELLO)]
    rows = Rows.__new__(Rows)
    rows._medley = medley
    result, error = await rows._one(1, b"{}", "steps", tmp_path, tmp_path)
    assert (result, json.loads(error)["type"]) == ("", "insufficient-credit")


async def test_a_graph_without_credit_is_refused_on_the_command_line(priced: Served, tmp_path: Path) -> None:
    async with priced.listening() as url:
        with pytest.raises(RequestFailed, match="costs 5 credits"):
            await asyncio.to_thread(run_graph, url, KEY, "steps", ["text=a"], tmp_path, Console(quiet=True))


async def test_a_job_without_credit_is_not_tried_again(make: Make, author: Author) -> None:
    served = make(prices={"steps": PRICE})
    await served.database.write(ledger.grant, "local", PRICE)
    author.broken.add("circle 0")
    async with served.client() as client:
        id = await started(client)
        await ended(client, id, "failed")
        await served.database.write(ledger.reserve, "local", "job_other", 1, PRICE)
        assert (await client.post(f"{JOBS}/{id}/retry")).status_code == 402


async def test_a_job_acts_for_its_project(services: Any, author: Author, served: Served) -> None:
    models = Models([Model("author", "fake", (Language,), LocalHandle(author))])
    mine = services.make(served.service.config, {"whoami": whoami}, models)
    call = whoami.call.model_validate({})
    run = SyncRun(mine.jobs, whoami, call, Identity("local", "films"), RunOptions(respond_async=True))
    job = await run.answer()
    assert job.project == "films"
    async with mine.client() as client:
        assert (await ended(client, job.id))["output"] == {"text": "local films"}


class Metric:
    """An observer that fails at the first step it sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def step(self, step: Step) -> None:
        self.seen.append((step.graph, step.capability, step.status))
        if len(self.seen) == 1:
            raise ZeroDivisionError("no such label")

    def piece(self, piece: BaseModel) -> None:
        raise ZeroDivisionError("no such label")


async def test_a_metric_sees_graph_and_capability_and_fails_no_run(author: Author) -> None:
    models, metric = Models([Model("author", "fake", (Language,), LocalHandle(author))]), Metric()
    call = whoami.call.model_validate({})
    run = Executor(models, observers=(metric,)).execute(whoami, call, Identity("ann"))
    await run.result()
    assert metric.seen == [("whoami", "Language", status) for status in ("running", "succeeded")]
    streamed = Executor(models, observers=(metric,)).execute(whose_words, call, Identity("ann"), streams=True)
    assert [delta.text async for delta in streamed.pieces()] == ["X", "", "ann"]  # of a context that only the run sets
    assert current_identity() is None


def test_a_run_with_a_price_does_not_begin_unpaid() -> None:
    """Whatever a surface forgets: the run itself looks."""

    async def forgetful() -> None:
        executor = Executor(Models([]), {"steps": PRICE})
        found = next(iter([graph(title="Steps")(free)]))
        run = executor.execute(found, found.call.model_validate({}), Identity("ann"))
        await run.result()

    with pytest.raises(UnpaidRun, match="costs 5 credits"):
        asyncio.run(forgetful())


class Nothing(BaseModel):
    text: str = ""


async def free(request: Nothing) -> Nothing:
    raise AssertionError("it costs something")


free.__name__ = "steps"


@pytest.mark.parametrize(("path", "request_"), OPENAI, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_openais_clients_run_is_charged_once(
    path: str, request_: dict[str, Any], priced: Served, client: httpx.AsyncClient
) -> None:
    await priced.database.write(ledger.grant, "local", 2 * PRICE)
    answer = await client.post(path, **request_)
    if path in ("/v1/images/edits", "/v1/images/variations"):  # the fake paints from a text alone
        assert answer.status_code == 503
        jobs = (await client.get(JOBS)).json()["jobs"]  # it is tried again as a job
        assert [job["price"] for job in jobs] == [PRICE]
        return
    assert answer.status_code == 200, answer.text
    assert (await ledger_of(priced))[1:] == [("reserve", PRICE), ("capture", PRICE)]


async def test_a_notebooks_run_that_costs_is_a_job_of_the_service(priced: Served) -> None:
    await priced.database.write(ledger.grant, "local", 2 * PRICE)
    seen: list[str] = []
    medley = notebook(priced, lambda step: seen.append(f"{step.name} {step.status}"))
    assert (await medley.graphs.steps(text="a", steps=1)).said == ["A 0"]
    assert seen == ["writer.chat running", "writer.chat succeeded"]
    pieces = [piece async for piece in medley.graphs.chat.stream(messages=HELLO)]
    assert "".join(piece.text for piece in pieces) == "HELLO"
    assert [job["graph"] for job in (await priced.client().get(JOBS)).json()["jobs"]] == ["chat", "steps"]
    assert [kind for kind, _ in await ledger_of(priced)] == ["grant", "reserve", "capture", "reserve", "capture"]


async def test_a_graph_that_streams_gives_its_pieces_on_every_surface(served: Served) -> None:
    async with served.client() as client:
        answer = await client.post("/api/v1/graphs/chat", json={"messages": HELLO}, headers=EVENTS)
        told = list(events(answer.iter_lines()))
        assert [data["name"] for kind, data in told if kind == "step"] == ["writer.stream"] * 2
        pieces = [piece for kind, data in told if kind == "pieces" for piece in data]
        assert "".join(piece["text"] for piece in pieces) == "HELLO"
        assert (told[-1][0], told[-1][1]["text"]) == ("result", "HELLO")
        whole = await client.post("/api/v1/graphs/chat", json={"messages": HELLO})
        assert whole.json() == told[-1][1]
        assert "writer.chat;" in whole.headers["server-timing"]  # nobody follows: the model answers as a whole
        job = await ended(client, await started(client, "/api/v1/graphs/chat", messages=HELLO))
        assert job["output"] == whole.json()
        followed = list(events((await client.get(f"{JOBS}/{job['id']}/events")).iter_lines()))
    pieces = [piece for kind, data in followed if kind == "pieces" for piece in data]
    assert "".join(piece["text"] for piece in pieces) == "HELLO"
    medley = notebook(served)
    assert [d.text async for d in medley.graphs.chat.stream(messages=HELLO)] == [*"HELLO", ""]
    assert (await medley.graphs.chat(messages=HELLO)).text == "HELLO"
    assert [r.said async for r in medley.graphs.steps.stream(text="a", steps=1)] == [["A 0"]]


async def test_a_paid_stream_comes_as_it_is_written_and_its_job_carries_the_pieces(
    priced: Served, client: httpx.AsyncClient
) -> None:
    await priced.database.write(ledger.grant, "local", PRICE)
    answer = await client.post("/v1/chat/completions", json={"messages": HELLO, "stream": True})
    chunks = [json.loads(line[6:]) for line in answer.text.strip().split("\n\n")[:-1]]
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == [*"HELLO", ""]
    (job,) = (await client.get(JOBS)).json()["jobs"]
    followed = list(events((await client.get(f"{JOBS}/{job['id']}/events")).iter_lines()))
    assert "".join(piece["text"] for kind, data in followed if kind == "pieces" for piece in data) == "HELLO"


@graph(title="Whoami")
async def whoami(request: Nothing, writer: Language) -> Nothing:
    """Who the run acts for, as a model's caller would see it."""
    await writer.chat([Message(role="user", content="x")])
    identity = current_identity()
    return Nothing(text=f"{identity.user} {identity.project}" if identity else "nobody")


@graph(title="Whose words")
async def whose_words(request: Nothing, writer: Language) -> AsyncIterator[Delta]:
    async for delta in writer.stream([Message(role="user", content="x")]):
        yield delta
    identity = current_identity()
    yield Delta(text=identity.user if identity else "nobody", finish_reason="stop")


async def test_every_layer_can_read_for_whom_a_run_acts(services: Any, author: Author, served: Served) -> None:
    models = Models([Model("author", "fake", (Language,), LocalHandle(author))])
    mine = services.make(served.service.config, {"whoami": whoami, "whose_words": whose_words}, models)
    async with mine.client() as client:
        assert (await client.post("/api/v1/graphs/whoami", json={})).json() == {"text": "local default"}
        answer = await client.post("/api/v1/graphs/whose_words", json={}, headers=EVENTS)
        assert list(events(answer.iter_lines()))[-1][1]["text"] == "Xlocal"
        job = await ended(client, await started(client, "/api/v1/graphs/whoami"))
        assert job["output"] == {"text": "local default"}
    assert current_identity() is None


async def test_an_option_of_a_run_that_is_none_is_refused_with_the_nearest(served: Served) -> None:
    answer = await served.client().post("/api/v1/graphs/steps?wiat=3", json={})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "wiat")
    assert "'wait'" in answer.json()["detail"]


LEVELS = [
    (CallerError, InvalidInput("text", "is rude"), 422, 400, "failed"),
    (Transient, ModelUnavailable("no weights"), 503, 503, "queued"),
    (ServiceError, ZeroDivisionError("in /secret/path"), 500, 500, "failed"),
]


@pytest.mark.parametrize(("level", "error", "native", "openai", "job"), LEVELS)
async def test_an_error_of_each_level_means_the_same_on_each_surface(
    level: type[MedleyError], error: Exception, native: int, openai: int, job: str, author: Author, served: Served
) -> None:
    async with served.client() as client:

        async def failing(path: str, **how: Any) -> httpx.Response:
            author.fails = [error]
            return await client.post(path, **how)

        body = {"messages": HELLO}
        answer = await failing("/api/v1/graphs/chat", json=body)
        assert (answer.status_code, answer.json()["status"]) == (native, native)
        assert ("retry-after" in answer.headers) == (level is Transient)
        told = list(events((await failing("/api/v1/graphs/chat", json=body, headers=EVENTS)).iter_lines()))
        assert (told[-1][0], told[-1][1]["status"]) == ("error", native)
        for stream in (False, True):
            answer = await failing("/v1/chat/completions", json={**body, "stream": stream})
            assert answer.status_code == openai
            assert answer.json()["error"]["code"] == told[-1][1]["type"].rpartition("/")[2]
        author.fails = [error]
        id = await started(client, "/api/v1/graphs/chat", **body)
        seen = await until(
            client, id, lambda one: one["finished_at"] or (one["metrics"]["attempts"] and job == one["status"])
        )
        assert seen["status"] == job
    author.fails = [error]
    with pytest.raises(level) as raised:
        await notebook(served).graphs.chat(messages=HELLO)
    assert "/secret" not in str(raised.value)
    assert isinstance(raised.value, ModelFailed) == (level is ServiceError)


async def test_dependencies_of_the_framework_hold_on_every_route() -> None:
    """Of a route, of a router and of the application."""

    async def refuse(request: Request) -> None:
        if "x-pass" not in request.headers:
            raise HTTPException(403)

    def app(dependencies: Any = None, of_router: Any = None, of_route: Any = None) -> ExactPaths:
        made = FastAPI(dependencies=dependencies)
        router = APIRouter(dependencies=of_router)

        @router.get("/x", dependencies=of_route)
        async def x(request: Request) -> Response:
            return JSONResponse("in")

        made.include_router(router)
        return ExactPaths(made)

    guard = [Depends(refuse)]
    for guarded in (app(guard), app(None, guard), app(None, None, guard)):
        assert (await connect(guarded, {}).get("/x")).status_code == 403
        assert (await connect(guarded, {"x-pass": "1"}).get("/x")).json() == "in"
        assert guarded.endpoints == {}
    assert list(app().endpoints) == [("GET", "/x")]

    def user(request: Request) -> str:
        return "ann"

    made = FastAPI()

    @made.get("/y")
    async def y(request: Request, user: Annotated[str, Depends(user)]) -> Response:
        return JSONResponse(user)

    assert (await connect(ExactPaths(made), {}).get("/y")).json() == "ann"


@graph(title="Dawdle")
async def dawdle(request: Nothing) -> AsyncIterator[Nothing]:
    yield Nothing(text="well")
    await asyncio.Event().wait()


@pytest.mark.parametrize("how", ["result", "pieces"])
async def test_a_graph_that_falls_silent_ends_when_its_time_is_over(how: str) -> None:
    """Whether the time passes in the graph's function or between two pieces; the caller's task goes on."""
    call = dawdle.call.model_validate({})
    run = Executor(Models([])).execute(dawdle, call, Identity("ann"), RunOptions(timeout_s=0.05))
    said: list[str] = []
    with pytest.raises(RunTimedOut, match=r"0\.05 s"):
        if how == "result":
            await run.result()
        async for piece in run.pieces():
            said.append(piece.text)
    assert said == ([] if how == "result" else ["well"])
    late = Executor(Models([])).execute(dawdle, call, Identity("ann"), RunOptions(timeout_s=0.02))
    pieces = late.pieces()
    await anext(pieces)
    await asyncio.sleep(0.05)  # the caller is slow
    with pytest.raises(RunTimedOut):
        await anext(pieces)
    task = asyncio.current_task()
    assert task and task.cancelling() == 0


async def test_cancelling_who_follows_a_graph_is_no_timeout() -> None:
    call = dawdle.call.model_validate({})
    run = Executor(Models([])).execute(dawdle, call, Identity("ann"), RunOptions(timeout_s=5))
    pieces = run.pieces()
    await anext(pieces)
    waiting = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_stream_of_events_is_kept_alive_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sent_events, "KEEP_ALIVE_S", 0.05)
    closed = asyncio.Event()

    async def slow() -> AsyncIterator[str]:
        try:
            yield server_sent_events.event("1")
            await asyncio.sleep(0.12)
            yield server_sent_events.event("2", "step", 7)
        finally:
            closed.set()

    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    await EventStream(slow()).stream_response(send)
    comment = b": keep-alive\n\n"
    assert [body for body in sent if body != comment] == [b"", b"data: 1\n\n", b"id: 7\nevent: step\ndata: 2\n\n", b""]
    assert comment in sent[2:-2]  # in the pause
    assert closed.is_set()
