"""Durable runs over HTTP: how they are asked for, followed, refused, and what becomes of them."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import websockets
from sqlalchemy import select, update

from deployments.capabilities import Message
from deployments.errors import InvalidInput
from serve_app.accounts import ledger
from serve_app.clients.http import Remote, ServerEvent, read_events
from serve_app.errors import StorageUnavailable
from serve_app.gateway import sync_run
from serve_app.gateway.routes.aliases import ALIASES
from serve_app.storage import tables

from .fakes import PICTURE, RECORDING
from .services import ASYNC, JOBS, KEY, OTHER_KEY, RUN, Author, Make, Served, ended, started, until
from .test_http import refused

ARTIFACTS = "/api/v1/artifacts"
MADE_UP = "job_" + "0" * 28
CALLS = [f"circle {number}" for number in range(3)]


@pytest.fixture
async def client(served: Served) -> httpx.AsyncClient:
    return served.client()


async def rows(served: Served, table: Any) -> list[Any]:
    return await served.database.read(lambda connection: list(connection.execute(select(table)).all()))


def events_of(answer: httpx.Response) -> list[ServerEvent]:
    assert answer.status_code == 200, answer.text
    return list(read_events(iter(answer.text.split("\n"))))


# How a run becomes a job ---------------------------------------------------------------------------------------------


async def test_who_does_not_wait_gets_the_job_and_later_its_result(client: httpx.AsyncClient) -> None:
    answer = await client.post(RUN, json={"text": "circle"}, headers=ASYNC)
    job = answer.json()
    assert (answer.status_code, job["status"], job["graph"]) == (202, "queued", "steps")
    assert answer.headers["location"] == f"{JOBS}/{job['id']}"
    assert answer.headers["preference-applied"] == "respond-async"
    job = await ended(client, job["id"])
    assert [step["name"] for step in job["steps"]] == ["writer.chat", "writer.chat-2", "writer.chat-3"]
    assert job["input"]["text"] == "circle"
    result = (await client.get(job["urls"]["result"])).json()
    assert result == {"said": [call.upper() for call in CALLS], "image": None}


@pytest.mark.parametrize("query", ["?wait=0.15", ""])
async def test_a_run_that_outlasts_the_wait_goes_on_as_a_job_and_does_no_step_twice(
    query: str, client: httpx.AsyncClient, author: Author
) -> None:
    author.seconds = 0.1
    headers = {} if query else {"prefer": "wait=0.15"}
    answer = await client.post(RUN + query, json={"text": "circle"}, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    job = await ended(client, answer.json()["id"])
    assert author.calls == CALLS
    assert len(job["steps"]) == 3
    result = (await client.get(job["urls"]["result"])).json()
    assert result["said"] == [call.upper() for call in CALLS]


async def test_a_run_in_time_is_no_job(client: httpx.AsyncClient) -> None:
    answer = await client.post(RUN, json={"text": "circle"}, headers={"prefer": "wait=10"})
    assert (answer.status_code, len(answer.json()["said"])) == (200, 3)
    assert (await client.get(JOBS)).json() == {"jobs": [], "next_cursor": None}


async def test_events_of_a_run_that_outlasts_the_wait_end_with_the_job(
    client: httpx.AsyncClient, author: Author
) -> None:
    author.seconds = 0.1
    headers = {"accept": "text/event-stream", "prefer": "wait=0.15"}
    *steps, last = events_of(await client.post(RUN, json={"text": "circle"}, headers=headers))
    assert {event.kind for event in steps} == {"step"}
    assert (last.kind, last.data["status"]) == ("job", "running")
    await ended(client, last.data["id"])
    assert author.calls == CALLS


async def leave(client: httpx.AsyncClient, author: Author, headers: dict[str, str]) -> None:
    """A client that goes away when the first step is done: the server in front then cancels the request's task."""
    task = asyncio.create_task(client.post(RUN, json={"text": "circle"}, headers=headers))
    async with asyncio.timeout(5):
        while not author.calls:  # it sets no event
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_goes_away_from_a_run_ends_it(client: httpx.AsyncClient, author: Author) -> None:
    author.seconds = 0.15
    await leave(client, author, {})
    await asyncio.sleep(0.4)
    assert author.calls == CALLS[:1]
    assert (await client.get(JOBS)).json()["jobs"] == []


async def test_who_goes_away_from_a_run_that_became_a_job_leaves_it_running(
    client: httpx.AsyncClient, author: Author
) -> None:
    author.seconds = 0.15
    await leave(client, author, {"idempotency-key": "mine"})
    (job,) = (await client.get(JOBS)).json()["jobs"]
    await ended(client, job["id"])
    assert author.calls == CALLS


@pytest.mark.parametrize("fails", [False, True])
async def test_who_goes_away_while_a_run_becomes_a_job_leaves_a_whole_one_or_none(
    fails: bool, served: Served, client: httpx.AsyncClient, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    author.seconds = 0.2
    adopt, asked = served.jobs.runner.adopt, asyncio.Event()

    async def slow(*given: Any) -> Any:
        asked.set()
        await asyncio.sleep(0.1)
        if fails:
            raise StorageUnavailable("The database does not answer.")
        return await adopt(*given)

    monkeypatch.setattr(served.jobs.runner, "adopt", slow)
    task = asyncio.create_task(client.post(RUN, json={"text": "circle"}, headers={"prefer": "wait=0.05"}))
    await asked.wait()
    task.cancel()
    await asyncio.sleep(0.9)
    jobs = (await client.get(JOBS)).json()["jobs"]
    assert [(job["status"], job["metrics"]["attempts"]) for job in jobs] == ([] if fails else [("succeeded", 1)])
    assert author.calls == ([] if fails else CALLS)


# The same request again ----------------------------------------------------------------------------------------------


async def test_the_same_key_gets_the_same_job(client: httpx.AsyncClient, served: Served) -> None:
    key = {"idempotency-key": "order 7"}
    first = await started(client, headers=key, text="circle")
    assert await started(client, headers=key, text="circle") == first
    await ended(client, first)
    assert await started(client, headers=key, text="circle") == first
    assert await started(served.client(OTHER_KEY), headers=key, text="circle") != first  # everybody has their own keys


async def test_the_same_key_gets_the_same_result(client: httpx.AsyncClient, author: Author) -> None:
    answers = [await client.post(RUN, json={}, headers={"idempotency-key": "k"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(author.calls) == 3


@pytest.mark.parametrize("other", [(RUN, {"text": "square"}), (RUN + "?priority=2", {}), ("picture", {})])
@pytest.mark.parametrize("prefer", [ASYNC, {}])
async def test_the_same_key_with_another_request_is_422(
    other: tuple[str, dict[str, Any]], prefer: dict[str, str], client: httpx.AsyncClient
) -> None:
    key = {"idempotency-key": "k", **prefer}
    assert (await client.post(RUN, json={}, headers=key)).is_success
    path = other[0] if other[0].startswith("/") else f"/api/v1/graphs/{other[0]}"
    refused(await client.post(path, json=other[1], headers=key), 422, "Idempotency-Key")


async def test_fifty_at_once_with_one_key_make_one_job(client: httpx.AsyncClient, author: Author) -> None:
    author.seconds = 0.02
    key = {"idempotency-key": "k"}
    asked = [client.post(RUN, json={}, headers={**key, **(ASYNC if n % 2 else {})}) for n in range(50)]
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200, 202}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len({answer.text for answer in answers if answer.status_code == 200}) == 1
    assert len((await client.get(JOBS)).json()["jobs"]) == 1
    assert len(author.calls) == 3


@pytest.mark.parametrize("key", ["", "ä".encode("latin-1"), "x" * 256, b"a\tb"])
async def test_a_key_that_cannot_be_one_is_422(key: Any, client: httpx.AsyncClient) -> None:
    refused(await client.post(RUN, json={}, headers={"idempotency-key": key}), 422, "Idempotency-Key")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wait", "-1"),
        ("wait", "soon"),
        ("wait", "nan"),
        ("wait", "3601"),
        ("priority", "11"),
        ("priority", "high"),
        ("timeout_s", "0"),
        ("timeout_s", "inf"),
    ],
)
async def test_what_cannot_be_asked_for_is_422(name: str, value: str, client: httpx.AsyncClient) -> None:
    refused(await client.post(RUN, json={}, params={name: value}, headers=ASYNC), 422, name)


# The history ---------------------------------------------------------------------------------------------------------


async def test_pages_have_every_job_once_also_while_new_ones_come(client: httpx.AsyncClient) -> None:
    made = [await started(client, steps=0) for _ in range(45)]
    pages, cursor = [], None
    while True:
        page = (await client.get(JOBS, params={"limit": 20, **({"cursor": cursor} if cursor else {})})).json()
        pages.append([job["id"] for job in page["jobs"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await started(client, steps=0)  # newer than all of them
    assert [len(page) for page in pages] == [20, 20, 5]
    assert [id for page in pages for id in page] == sorted(made, reverse=True)


async def test_a_job_is_found_since_the_time_it_shows_however_that_is_rounded(
    client: httpx.AsyncClient, served: Served
) -> None:
    id = await started(client, text="circle", steps=1)
    await ended(client, id)
    for stored in (1795290000.4569998, 1795290000.457, 1795290000.4570003):
        await served.database.write(
            lambda connection, stored=stored: connection.execute(
                update(tables.jobs).where(tables.jobs.c.id == id).values(created_at=stored)
            )
        )
        (job,) = (await client.get(JOBS)).json()["jobs"]
        assert job["created_at"] == "2026-11-21T19:40:00.457Z"
        for name, there in (("since", 1), ("until", 0)):
            assert len((await client.get(JOBS, params={name: job["created_at"]})).json()["jobs"]) == there


async def test_filters_choose(client: httpx.AsyncClient, author: Author) -> None:
    author.broken = {"square 0"}
    circle = await started(client, text="circle", steps=1)
    await ended(client, circle)
    square = await started(client, text="square", steps=1)
    await ended(client, square, "failed")
    percent = await started(client, "/api/v1/graphs/picture", text="100% [red]")
    last = await ended(client, percent)

    async def found(**params: str) -> list[str]:
        return [job["id"] for job in (await client.get(JOBS, params=params)).json()["jobs"]]

    assert await found() == [percent, square, circle]
    assert await found(graph="picture") == [percent]
    assert await found(status="failed") == [square]
    assert await found(status="queued") == []
    assert await found(text="CIRCLE") == [circle]
    assert await found(text="0% [") == [percent]
    assert await found(text="%") == [percent]
    assert await found(since=last["created_at"]) == [percent]
    assert await found(until=last["created_at"]) == [square, circle]
    assert await found(until=last["created_at"], graph="steps", status="succeeded") == [circle]
    assert await found(text="%5B") == await found(text="u005b") == await found(text="steps") == []
    assert await found(since="2020-01-01", until="2020-01-02T00:00:00Z") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cursor", "x"),
        ("cursor", ""),
        ("cursor", "ä"),
        ("cursor", "am9iXycgT1IgMT0x"),
        ("cursor", "/" * 500),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "many"),
        ("limit", ""),
        ("status", "done"),
        ("status", ""),
        ("graph", "stepps"),
        ("since", "yesterday"),
        ("until", "12"),
        ("until", "9999999-01-01"),
        ("since", ""),
        ("text", "x" * 201),
        ("text", "a\0b"),
    ],
)
async def test_a_page_that_cannot_be_asked_for_is_422(name: str, value: str, client: httpx.AsyncClient) -> None:
    refused(await client.get(JOBS, params={name: value}), 422, name)


async def test_a_text_is_found_as_it_was_written_in_whatever_form_it_came(client: httpx.AsyncClient) -> None:
    text = 'Straße "赤" \\ 🦊'
    made = [
        (await client.post(RUN, content=body, headers={**ASYNC, "content-type": "application/json"})).json()["id"]
        for body in (json.dumps({"text": text}), json.dumps({"text": text}, ensure_ascii=False).encode())
    ]
    made.append((await client.post(RUN, files={"text": (None, text)}, headers=ASYNC)).json()["id"])
    for part in ("straße", "赤", "🦊", '"赤"', "\\ 🦊"):
        page = (await client.get(JOBS, params={"text": part})).json()
        assert [job["id"] for job in page["jobs"]] == made[::-1], part
    assert (await client.get(JOBS, params={"text": "u8d64"})).json()["jobs"] == []


async def test_characters_that_databases_cannot_hold_break_nothing(client: httpx.AsyncClient) -> None:
    id = await started(client, text="a\0b")
    assert (await ended(client, id))["input"]["text"] == "a\0b"
    parts = {
        "messages": (None, json.dumps([{"role": "user", "content": "x"}])),
        "json_schema": (None, '{"a":"\\ud800"}'),
    }
    answer = await client.post("/api/v1/graphs/chat", files=parts, headers=ASYNC)
    refused(answer, 422, "json_schema")
    assert (await client.get(JOBS)).status_code == 200


# Whose they are ------------------------------------------------------------------------------------------------------


async def test_anothers_job_is_as_absent_as_one_that_never_was(client: httpx.AsyncClient, served: Served) -> None:
    theirs = await started(client, text="secret")
    await ended(client, theirs)
    other = served.client(OTHER_KEY)
    ways = (("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/events"), ("GET", "/result"))
    for method, action in ways:
        documents = []
        for id in (theirs, MADE_UP):
            document = refused(await other.request(method, f"{JOBS}/{id}{action}"), 404)
            del document["request_id"]
            documents.append(json.dumps(document).replace(id, "ID"))
        assert documents[0] == documents[1]
        assert "secret" not in documents[0]
    assert (await other.get(JOBS)).json()["jobs"] == []
    assert (await other.get(JOBS, params={"text": "secret"})).json()["jobs"] == []
    assert (await client.get(f"{JOBS}/{theirs}")).json()["status"] == "succeeded"


@pytest.mark.parametrize("id", ["x", "job_", "job_%00", "..%2f..%2fidentity", "%27%20OR%201=1--", "x" * 2000, "%C3%A4"])
async def test_an_id_that_is_none_is_404(id: str, client: httpx.AsyncClient) -> None:
    for action in ("", "/result", "/events"):
        refused(await client.get(f"{JOBS}/{id}{action}"), 404)
    refused(await client.post(f"{JOBS}/{id}/cancel"), 404)


async def test_anothers_artifacts_and_webhooks_are_as_absent_as_ones_that_never_were(
    client: httpx.AsyncClient, served: Served
) -> None:
    id = await started(client, "/api/v1/graphs/picture")
    output = (await ended(client, id))["output"]["image"]
    hook = (await client.post("/api/v1/webhooks", json={"url": "https://93.184.216.34/x"})).json()["id"]
    other = served.client(OTHER_KEY)
    for theirs, none in ((output, "art_" + "0" * 28), (hook, "whk_" + "0" * 28)):
        path = ARTIFACTS if theirs.startswith("art_") else "/api/v1/webhooks"
        actions = [("GET", ""), ("DELETE", "")]
        actions += [("POST", "/url")] if path == ARTIFACTS else [("GET", "/deliveries"), ("POST", "/test")]
        for method, action in actions:
            documents = []
            for one in (theirs, none):
                document = refused(await other.request(method, f"{path}/{one}{action}"), 404)
                del document["request_id"]
                documents.append(json.dumps(document).replace(one, "ID"))
            assert documents[0] == documents[1]
    assert (await client.get(f"{ARTIFACTS}/{output}")).content == PICTURE.data
    assert (await client.get(f"/api/v1/webhooks/{hook}")).status_code == 200


# Cancel and retry ----------------------------------------------------------------------------------------------------


async def test_a_job_is_cancelled_once_and_stays_so(client: httpx.AsyncClient, author: Author) -> None:
    author.seconds = 60
    id = await started(client)
    await until(client, id, lambda job: job["status"] == "running")
    first = await client.post(f"{JOBS}/{id}/cancel")
    assert (first.status_code, first.json()["cancel_requested"]) == (202, True)
    job = await ended(client, id, "cancelled")
    again = await client.post(f"{JOBS}/{id}/cancel")
    assert (again.status_code, again.json()["finished_at"]) == (200, job["finished_at"])
    refused(await client.get(f"{JOBS}/{id}/result"), 409)


async def test_a_waiting_job_is_cancelled_at_once(make: Make, author: Author) -> None:
    author.seconds = 60
    client = make(per_user=1).client()
    running = await started(client)
    await until(client, running, lambda job: job["status"] == "running")
    waiting = await started(client)
    answer = await client.post(f"{JOBS}/{waiting}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert [event.data["status"] for event in events_of(await client.get(f"{JOBS}/{waiting}/events"))] == [
        "queued",
        "cancelled",
    ]


async def test_an_ended_job_is_not_cancelled(client: httpx.AsyncClient) -> None:
    id = await started(client)
    await ended(client, id)
    answer = await client.post(f"{JOBS}/{id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


async def test_a_failed_job_is_run_again_from_the_step_that_failed(client: httpx.AsyncClient, author: Author) -> None:
    author.broken = {"circle 2"}
    id = await started(client)
    failed = await ended(client, id, "failed")
    assert (failed["error"]["status"], failed["error"]["errors"][0]["field"]) == (422, "text")
    refused(await client.get(f"{JOBS}/{id}/result"), 422, "text")
    assert author.calls == CALLS[:2]
    author.broken = set()
    answer = await client.post(f"{JOBS}/{id}/retry")
    assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (202, "queued", None)
    await ended(client, id)
    assert author.calls == CALLS
    refused(await client.post(f"{JOBS}/{id}/retry"), 409)
    states = [
        event.data["status"] for event in events_of(await client.get(f"{JOBS}/{id}/events")) if event.kind == "state"
    ]
    assert states == ["queued", "running", "failed", "queued", "running", "succeeded"]


async def test_a_job_that_has_not_ended_has_no_result_and_is_not_retried(
    client: httpx.AsyncClient, author: Author
) -> None:
    author.seconds = 60
    id = await started(client)
    refused(await client.get(f"{JOBS}/{id}/result"), 409)
    refused(await client.post(f"{JOBS}/{id}/retry"), 409)
    await client.post(f"{JOBS}/{id}/cancel")


# Events --------------------------------------------------------------------------------------------------------------


async def test_events_are_numbered_and_go_on_after_the_last_one_seen(client: httpx.AsyncClient, author: Author) -> None:
    author.seconds = 0.05
    id = await started(client)
    live = events_of(await client.get(f"{JOBS}/{id}/events"))
    assert [event.seq for event in live] == list(range(1, len(live) + 1))
    assert (live[0].data["status"], live[-1].data["status"]) == ("queued", "succeeded")
    assert {event.kind for event in live} == {"state", "step", "progress"}
    assert events_of(await client.get(f"{JOBS}/{id}/events")) == live
    for seen in range(len(live)):
        headers = {"last-event-id": str(seen)}
        assert events_of(await client.get(f"{JOBS}/{id}/events", headers=headers)) == live[seen:]
    assert events_of(await client.get(f"{JOBS}/{id}/events?last_event_id=2")) == live[2:]


async def test_who_has_the_last_event_of_an_ended_job_is_told_to_stop(
    client: httpx.AsyncClient, author: Author, served: Served
) -> None:
    """By 204: a browser's EventSource connects again after each end of the stream, until it gets that."""
    author.broken = {"circle 0"}
    id = await started(client)
    path = f"{JOBS}/{id}/events"
    last = events_of(await client.get(path))[-1].seq
    for seen in (last, last + 7):
        for answer in (
            await client.get(path, headers={"last-event-id": str(seen)}),
            await client.get(path, params={"last_event_id": seen}),
        ):
            assert (answer.status_code, answer.content) == (204, b"")
    async with served.listening() as url:
        assert await asyncio.to_thread(lambda: list(Remote(url, KEY).follow(id, last))) == []
    author.broken = set()
    assert (await client.post(f"{JOBS}/{id}/retry")).status_code == 202
    more = events_of(await client.get(path, headers={"last-event-id": str(last)}))  # it goes on
    assert (more[0].seq, more[-1].data["status"]) == (last + 1, "succeeded")


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "1e3", "9" * 10, "٣".encode()])
async def test_a_number_that_is_none_is_422(last: Any, client: httpx.AsyncClient) -> None:
    id = await started(client)
    answer = await client.get(f"{JOBS}/{id}/events", headers={"last-event-id": last})
    refused(answer, 422, "Last-Event-ID")


async def test_a_socket_tells_the_same_as_the_stream(served: Served, author: Author) -> None:
    client = served.client()
    author.seconds = 0.05
    id = await started(client)
    async with served.listening() as url:
        address = f"{url.replace('http', 'ws')}{JOBS}/{id}/events"
        bearer = {"authorization": f"Bearer {KEY}"}
        async with websockets.connect(address, additional_headers=bearer) as socket:
            told_live = [json.loads(message) async for message in socket]
        stream = events_of(await client.get(f"{JOBS}/{id}/events"))
        assert [ServerEvent(event["seq"], event["kind"], event["data"]) for event in told_live] == stream
        async with websockets.connect(f"{address}?last_event_id=3", additional_headers=bearer) as socket:
            assert [json.loads(message) async for message in socket] == told_live[3:]
        protocols: Any = ["medley", f"medley.key.{KEY}"]
        async with websockets.connect(address, subprotocols=protocols, origin=url) as socket:  # type: ignore[arg-type]
            assert socket.subprotocol == "medley"
            assert [json.loads(message) async for message in socket] == told_live


async def test_a_socket_is_refused_to_strangers_and_foreign_pages(served: Served) -> None:
    id = await started(served.client())
    async with served.listening() as url:
        address = f"{url.replace('http', 'ws')}{JOBS}/{id}/events"
        bearer = {"authorization": f"Bearer {KEY}"}
        for headers, origin in (
            ({}, None),
            ({"authorization": "Bearer wrong"}, None),
            (bearer, "https://evil.example"),
            (bearer, "null"),
            (bearer, url.replace("127.0.0.1", "127.0.0.1.evil.example")),
        ):
            with pytest.raises(websockets.InvalidStatus) as caught:
                async with websockets.connect(address, additional_headers=headers, origin=origin):  # type: ignore[arg-type]
                    pass
            assert caught.value.response.status_code == 403
        theirs = {"authorization": f"Bearer {OTHER_KEY}"}
        for place, headers, code in ((address, theirs, 4404), (f"{address}?last_event_id=x", bearer, 4422)):
            async with websockets.connect(place, additional_headers=headers) as socket:
                with pytest.raises(websockets.ConnectionClosedError):
                    await socket.recv()
            assert socket.close_code == code


# Artifacts as input --------------------------------------------------------------------------------------------------


async def uploaded(client: httpx.AsyncClient, data: bytes = RECORDING.data, kind: str = "audio/wav") -> str:
    answer = await client.post(ARTIFACTS, content=data, headers={"content-type": kind})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.mark.parametrize("prefer", [ASYNC, {}])
async def test_an_artifact_is_taken_where_media_is(prefer: dict[str, str], client: httpx.AsyncClient) -> None:
    id = await uploaded(client)
    answer = await client.post("/api/v1/graphs/transcription", json={"audio": id}, headers=prefer)
    if prefer:
        job = await ended(client, answer.json()["id"])
        assert job["input"]["audio"] == id  # not stored a second time
        answer = await client.get(f"{JOBS}/{job['id']}/result")
    assert answer.json()["text"] == "a red circle"


async def test_anothers_artifact_is_refused_like_one_that_never_was(served: Served, client: httpx.AsyncClient) -> None:
    theirs = await uploaded(served.client(OTHER_KEY))
    details = []
    for id in (theirs, "art_" + "0" * 28):
        for headers in ({}, ASYNC):
            answer = await client.post("/api/v1/graphs/transcription", json={"audio": id}, headers=headers)
            details.append(refused(answer, 422, "audio")["detail"].replace(id, "ID"))
    assert len(set(details)) == 1
    assert (await client.get(JOBS)).json()["jobs"] == []


@pytest.mark.parametrize(
    "id",
    [
        "art_../../etc/passwd",
        "art_" + "0" * 27 + "/",
        "../../medley.db",
        "file:///etc/passwd",
        "http://127.0.0.1/x",
        "art_",
        "art_" + "A" * 28,
        "art_" + "0" * 28 + "\n",
        "",
    ],
)
async def test_an_artifact_that_is_a_path_is_none(id: str, client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/graphs/transcription", json={"audio": id}, headers=ASYNC)
    document = refused(answer, 422, "audio")
    assert "/home" not in document["detail"] and "No such file" not in document["detail"]
    assert (await client.get(JOBS)).json()["jobs"] == []


# Webhooks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://169.254.169.254/latest",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://0177.0.0.1/x",
        "https://127.1/x",
        "https://10.0.0.1/x",
        "https://0.0.0.0/x",
        "https://user:password@93.184.216.34/x",
        "file:///etc/passwd",
        "ftp://93.184.216.34/x",
        "https://",
        "x",
        "",
    ],
)
async def test_a_webhook_to_a_private_place_is_refused_before_there_is_a_job(
    url: str, client: httpx.AsyncClient, author: Author
) -> None:
    for headers in (ASYNC, {}):
        answer = await client.post(RUN, json={}, params={"webhook": url}, headers=headers)
        refused(answer, 422, "webhook")
    assert (await client.get(JOBS)).json()["jobs"] == []
    assert author.calls == []


# Storage that is away ------------------------------------------------------------------------------------------------


@pytest.fixture
def away(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    async def unavailable(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("The database does not answer: it is being moved.")

    for name in ("read", "write", "write_apart"):
        monkeypatch.setattr(served.database, name, unavailable)
    yield


async def test_without_storage_jobs_are_503_with_a_time_to_come_again(away: None, client: httpx.AsyncClient) -> None:
    asked = [
        client.post(RUN, json={}, headers=ASYNC),
        client.post(RUN, json={}, headers={"idempotency-key": "k"}),
        client.get(JOBS),
        client.get(f"{JOBS}/{MADE_UP}"),
        client.post(f"{JOBS}/{MADE_UP}/cancel"),
        client.get(f"{JOBS}/{MADE_UP}/events"),
        client.get(ARTIFACTS),
        client.get("/api/v1/webhooks"),
    ]
    for answer in await asyncio.gather(*asked):
        assert refused(answer, 503)["type"].endswith("/storage-unavailable")
        assert int(answer.headers["retry-after"]) > 0


async def test_without_storage_a_run_that_needs_none_still_answers(
    away: None, client: httpx.AsyncClient, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_run, "RETRY_S", 0.05)
    assert (await client.post(RUN, json={})).status_code == 200
    author.seconds = 0.1  # outlasts the wait and cannot become a job: it is waited for
    answer = await client.post(RUN, json={}, headers={"prefer": "wait=0.05"})
    assert (answer.status_code, len(answer.json()["said"])) == (200, 3)


# Prices --------------------------------------------------------------------------------------------------------------


async def balance(served: Served) -> int:
    return await served.database.read(ledger.balance, "local")


@pytest.mark.parametrize("headers", [ASYNC, {}, {"idempotency-key": "k"}])
async def test_a_run_that_costs_more_than_there_is_is_402(headers: dict[str, str], make: Make, author: Author) -> None:
    served = make(prices={"steps": 5})
    await served.database.write(ledger.grant, "local", 4)
    answer = await served.client().post(RUN, json={}, headers=headers)
    assert "4 are left" in refused(answer, 402)["detail"]
    assert (await balance(served), author.calls) == (4, [])
    assert (await served.client().get(JOBS)).json()["jobs"] == []


@pytest.mark.parametrize("headers", [ASYNC, {}])
async def test_a_run_is_paid_once(headers: dict[str, str], make: Make) -> None:
    served = make(prices={"steps": 5})
    client = served.client()
    await served.database.write(ledger.grant, "local", 20)
    for _ in range(3):
        answer = await client.post(RUN, json={}, headers={**headers, "idempotency-key": "k"})
        assert answer.is_success, answer.text
    (job,) = (await client.get(JOBS)).json()["jobs"]
    job = await ended(client, job["id"])
    assert (job["price"], job["charged"], await balance(served)) == (5, 5, 15)
    assert sorted(row.kind for row in await rows(served, tables.ledger)) == ["capture", "grant", "reserve"]


@pytest.mark.parametrize("headers", [ASYNC, {}])
async def test_a_run_that_fails_costs_nothing_and_its_retry_is_paid(
    headers: dict[str, str], make: Make, author: Author
) -> None:
    served = make(prices={"steps": 5})
    client = served.client()
    await served.database.write(ledger.grant, "local", 5)
    author.broken = {"circle 1"}
    await client.post(RUN, json={}, headers=headers)
    (job,) = (await client.get(JOBS)).json()["jobs"]
    assert (await ended(client, job["id"], "failed"))["charged"] == 0
    assert await balance(served) == 5
    author.broken = set()
    assert (await client.post(f"{JOBS}/{job['id']}/retry")).status_code == 202
    assert (await ended(client, job["id"]))["charged"] == 5
    assert await balance(served) == 0
    kinds = [row.kind for row in await rows(served, tables.ledger)]
    assert sorted(kinds) == ["capture", "grant", "refund", "reserve", "reserve"]


async def test_a_cancelled_job_costs_nothing(make: Make, author: Author) -> None:
    served = make(prices={"steps": 5})
    client = served.client()
    await served.database.write(ledger.grant, "local", 5)
    author.seconds = 60
    id = await started(client)
    assert await balance(served) == 0
    await client.post(f"{JOBS}/{id}/cancel")
    await ended(client, id, "cancelled")
    assert await balance(served) == 5


# Earlier systems' paths ----------------------------------------------------------------------------------------------

BODIES = {"image_generation": {"prompt": "a circle"}, "smart_mask": {"image": PICTURE.url}}


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: f"{alias.method} {alias.path}")
async def test_an_alias_answers_like_its_native_route(alias: Any, client: httpx.AsyncClient) -> None:
    def same(answer: httpx.Response) -> Any:
        document = answer.json()
        for own in ("id", "urls", "created_at", "request_id", "instance"):
            document.pop(own, None)
        return answer.status_code, document

    if "{id}" in alias.path:
        id = await started(client, "/api/v1/graphs/image_generation", **BODIES["image_generation"])
        await ended(client, id)
        for one in (id, MADE_UP):
            answers = [await client.get(path.replace("{id}", one)) for path in (alias.path, alias.native)]
            assert same(answers[0]) == same(answers[1])
        return
    body = BODIES[alias.native.rpartition("/")[2]]
    answer = await client.post(alias.path, json=body)
    native = await client.post(alias.native, json=body, headers=ASYNC if alias.at_once else {})
    assert same(answer) == same(native)
    assert ("location" in answer.headers) == ("location" in native.headers)
    if alias.at_once:  # whatever else the client says
        assert (await client.post(alias.path, json=body, headers={"prefer": "wait=9"})).status_code == 202
    wrong = [await client.post(path, json={"nothing": 1}) for path in (alias.path, alias.native)]
    assert same(wrong[0])[0] == same(wrong[1])[0] == 422
    if alias.at_once:
        await ended(client, answer.json()["id"])


async def test_a_job_by_the_name_of_its_graph(client: httpx.AsyncClient) -> None:
    answer = await client.post("/jobs", json={"graph": "steps", "input": {"text": "circle"}})
    assert answer.status_code == 202, answer.text
    job = await ended(client, answer.json()["id"])
    assert (await client.get(f"/jobs/{job['id']}")).json() == job
    assert "'steps'" in refused(await client.post("/jobs", json={"graph": "stepps"}), 404)["detail"]
    refused(await client.post("/jobs", json={}), 422, "graph")
    refused(await client.post("/jobs", json={"graph": "steps", "inputs": {}}), 422, "inputs")
    refused(await client.post("/jobs", json={"graph": "steps", "input": {"txt": 1}}), 422, "txt")
    refused(await client.post("/jobs", content=b"["), 422, "body")


async def test_an_image_operation_by_its_name(client: httpx.AsyncClient) -> None:
    body = {"image": PICTURE.url, "width": 2}
    answer = await client.post("/api/image-utils/resize", json=body)
    native = await client.post("/api/v1/graphs/image_resize", json=body)
    assert (answer.status_code, answer.json()) == (200, native.json())
    assert (await client.post("/api/image-utils/extract-object", json={})).status_code == 422
    assert "'resize'" in refused(await client.post("/api/image-utils/resise", json=body), 404)["detail"]


def test_the_author_is_a_model() -> None:
    """What the other tests lean on: it counts, and refuses what is broken."""

    async def ask() -> list[str]:
        author = Author()
        author.broken = {"b"}
        await author.chat([Message(role="user", content="a")])
        with pytest.raises(InvalidInput):
            await author.chat([Message(role="user", content="b")])
        return author.calls

    assert asyncio.run(ask()) == ["a"]
