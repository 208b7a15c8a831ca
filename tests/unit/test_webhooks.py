"""Webhooks against a receiver that is really there: signatures, retries, the log, and whose they are."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import standardwebhooks
from fastapi import FastAPI
from sqlalchemy import Connection, func, select

from deployments.errors import InvalidInput, MedleyError
from serve_app.accounts.keys import Identity
from serve_app.errors import Conflict, NotFound
from serve_app.gateway.error_responses import error_response
from serve_app.gateway.routes.webhooks import router
from serve_app.jobs import settlement
from serve_app.storage import tables
from serve_app.storage.database import Database
from serve_app.webhooks import endpoints
from serve_app.webhooks.delivery import SCHEDULE_S, Deliverer
from serve_app.webhooks.endpoints import Delivery, Webhook

Answer = Callable[[BaseHTTPRequestHandler], None]
USER = "ada"
DAY = 86400


@dataclass
class Receiver:
    """An HTTP server on loopback. `answers` are used up in turn, the last one stays."""

    answers: list[Answer] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook"

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        self.seen.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}, body))
        (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])(handler)


def status(code: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver([status(200)])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self)

        do_GET = do_POST

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients that hang up are expected here
    receiver.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield receiver
    server.shutdown()
    server.server_close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/m.db")
    database.upgrade()
    yield database
    database.dispose()


class Entries:
    """The deliveries on the job queue, in the order they were queued."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def queued(self) -> list[str]:
        waiting = select(tables.jobs.c.input).where(tables.jobs.c.kind == "webhook").order_by(tables.jobs.c.id)
        return [json.loads(text) for text in self._database.read_here(lambda c: c.execute(waiting).scalars().all())]

    @property
    def last(self) -> str:
        return self.queued[-1]


@pytest.fixture
def queue(database: Database) -> Entries:
    return Entries(database)


def register(database: Database, url: str, events: tuple[str, ...] = (), user: str = USER) -> Webhook:
    return database.write_here(endpoints.create, user, url, events)


def tell(
    database: Database, queue: Entries, type: str = "job.succeeded", url: str | None = None, user: str = USER
) -> int:
    def announced(connection: Connection) -> int:
        data = '{"id": "job_1"}'
        made = endpoints.announce(connection, user=user, type=type, data=data, job_id="job_1", url=url)
        for delivery_id in made:
            settlement.queue_delivery(connection, delivery_id)
        return len(made)

    return database.write_here(announced)


def log_of(database: Database, hook: Webhook) -> list[Delivery]:
    return database.read_here(endpoints.deliveries_page, hook.user_id, hook.id, 100)


def verified(secret: str, sent: tuple[str, dict[str, str], bytes]) -> Any:
    return standardwebhooks.Webhook(secret).verify(sent[2], sent[1])


async def test_a_delivery_is_signed_as_the_standard_says(
    database: Database, receiver: Receiver, queue: Entries
) -> None:
    hook = register(database, receiver.url)
    assert tell(database, queue) == 1
    assert queue.queued == [queue.last]
    assert await Deliverer(database, [receiver.host]).deliver(queue.last) is None
    (sent,) = receiver.seen
    event = verified(hook.secret, sent)
    assert (event["type"], event["data"]) == ("job.succeeded", {"id": "job_1"})
    assert abs(datetime.fromisoformat(event["timestamp"]).timestamp() - time.time()) < 60
    assert sent[0] == "/hook" and sent[1]["webhook-id"] == queue.last and sent[1]["host"] == receiver.host
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verified(endpoints.new_secret(), sent)
    (logged,) = log_of(database, hook)
    assert (logged.status, logged.attempts[0].status_code, logged.attempts[0].error) == ("delivered", 200, None)
    assert logged.delivered_at is not None


async def test_what_was_delivered_is_not_sent_again(database: Database, receiver: Receiver, queue: Entries) -> None:
    register(database, receiver.url)
    tell(database, queue)
    deliverer = Deliverer(database, [receiver.host])
    assert [await deliverer.deliver(queue.last) for _ in range(3)] == [None] * 3
    assert len(receiver.seen) == 1
    assert await deliverer.deliver("msg_of_nobody") is None


async def test_a_failure_is_tried_again_with_the_same_id_and_body(
    database: Database, receiver: Receiver, queue: Entries
) -> None:
    hook = register(database, receiver.url)
    tell(database, queue)
    receiver.answers = [status(500), status(200)]
    clock = [time.time()]
    deliverer = Deliverer(database, [receiver.host], lambda: clock[0])
    assert await deliverer.deliver(queue.last) == 5
    assert await deliverer.deliver(queue.last) == 5  # too early: nothing is sent
    assert len(receiver.seen) == 1
    clock[0] += 5
    assert await deliverer.deliver(queue.last) is None
    first, second = receiver.seen
    assert first[2] == second[2] and first[1]["webhook-id"] == second[1]["webhook-id"]
    assert int(second[1]["webhook-timestamp"]) - int(first[1]["webhook-timestamp"]) == 5
    assert verified(hook.secret, first) == verified(hook.secret, second)
    (logged,) = log_of(database, hook)
    assert [(one.number, one.status_code) for one in logged.attempts] == [(1, 500), (2, 200)]
    assert logged.attempts[0].error == "answered 500"


async def test_a_slow_receiver_is_given_up_in_time_and_holds_no_transaction(
    database: Database, receiver: Receiver, queue: Entries
) -> None:
    hook = register(database, receiver.url)
    tell(database, queue)
    asked, release = threading.Event(), threading.Event()

    def keep_waiting(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        release.wait(10)

    receiver.answers = [keep_waiting]
    deliverer = Deliverer(database, [receiver.host], timeout_s=1.0)
    began = time.monotonic()
    under_way = asyncio.create_task(deliverer.deliver(queue.last))
    assert await asyncio.to_thread(asked.wait, 5)
    await database.write(endpoints.create, USER, "https://example.com/", [])  # SQLite has one writer: it is free
    assert not under_way.done()
    assert await under_way == 5
    assert time.monotonic() - began < 5
    release.set()
    (attempt,) = log_of(database, hook)[0].attempts
    assert (attempt.status_code, attempt.error) == (None, "no answer within 1 s")
    assert 0.9 < attempt.seconds < 4


async def test_a_receiver_that_drips_headers_is_given_up_too(
    database: Database, receiver: Receiver, queue: Entries
) -> None:
    """Each byte comes well before a read would time out: only the limit of the whole ends it."""
    register(database, receiver.url)
    tell(database, queue)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.1)

    receiver.answers = [drip]
    began = time.monotonic()
    assert await Deliverer(database, [receiver.host], timeout_s=0.5).deliver(queue.last) == 5
    assert time.monotonic() - began < 3


async def test_410_disables_the_endpoint(database: Database, receiver: Receiver, queue: Entries) -> None:
    hook = register(database, receiver.url)
    tell(database, queue)
    waiting = queue.last
    tell(database, queue)
    receiver.answers = [status(410)]
    deliverer = Deliverer(database, [receiver.host])
    assert await deliverer.deliver(queue.last) is None
    disabled = database.read_here(endpoints.find, USER, hook.id)
    assert disabled.disabled_at is not None and disabled.disabled_reason == "The receiver answered 410 Gone."
    assert await deliverer.deliver(waiting) is None  # queued before, over now
    assert len(receiver.seen) == 1
    assert [one.status for one in log_of(database, hook)] == ["failed", "failed"]
    assert tell(database, queue) == 0
    assert database.write_here(endpoints.update, USER, hook.id, enabled=True).disabled_reason is None
    assert tell(database, queue) == 1


async def test_a_redirect_is_a_failure_and_not_followed(database: Database, receiver: Receiver, queue: Entries) -> None:
    hook = register(database, receiver.url)
    tell(database, queue)
    receiver.answers = [status(302, location=f"{receiver.url}/elsewhere"), status(200)]
    assert await Deliverer(database, [receiver.host]).deliver(queue.last) == 5
    assert [path for path, _, _ in receiver.seen] == ["/hook"]
    assert log_of(database, hook)[0].attempts[0].error == "answered 302; redirects are not followed"


@pytest.mark.parametrize(
    ("value", "wait"),
    [("120", 120), ("2", 5), ("999999999", DAY), ("9" * 400, DAY), ("-3", 5), ("soon", 5), ("", 5), ("٣٠٠", 5)],
)
async def test_retry_after_is_kept_to_where_it_is_longer(
    database: Database, receiver: Receiver, queue: Entries, value: str, wait: float
) -> None:
    register(database, receiver.url)
    tell(database, queue)
    receiver.answers = [status(503, retry_after=value.encode().decode("latin-1"))]
    clock = time.time()
    assert await Deliverer(database, [receiver.host], lambda: clock).deliver(queue.last) == wait


async def test_an_endless_answer_is_not_read(database: Database, receiver: Receiver, queue: Entries) -> None:
    hook = register(database, receiver.url)
    tell(database, queue)
    written, hung_up = [0], threading.Event()

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
        try:
            while True:
                written[0] += handler.connection.send(b"x" * 65536)
        except OSError:
            hung_up.set()

    receiver.answers = [flood]
    assert await Deliverer(database, [receiver.host]).deliver(queue.last) is None
    assert await asyncio.to_thread(hung_up.wait, 5)
    assert written[0] < 50_000_000  # what the sockets hold, however fast the flood
    assert log_of(database, hook)[0].status == "delivered"


async def test_a_receiver_that_is_down_gets_the_whole_schedule(database: Database, queue: Entries) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = f"127.0.0.1:{taken.getsockname()[1]}"
    hook = register(database, f"http://{host}/")
    tell(database, queue)
    began = time.time()
    clock = [began]
    deliverer = Deliverer(database, [host], lambda: clock[0])
    waits: list[float] = []
    while (wait := await deliverer.deliver(queue.last)) is not None:
        waits.append(wait)
        pending = log_of(database, hook)[0]
        assert pending.status == "pending" and pending.next_at == clock[0] + wait
        clock[0] += wait
    hour = 3600
    expected = [5, 300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour]
    assert waits == pytest.approx(expected)
    assert list(SCHEDULE_S) == [0, *expected]
    (logged,) = log_of(database, hook)
    assert (logged.status, logged.next_at) == ("failed", None)
    due = [began + sum(expected[:count]) for count in range(10)]
    assert [one.at for one in logged.attempts] == pytest.approx(due)
    assert all(one.status_code is None and "ConnectError" in (one.error or "") for one in logged.attempts)
    assert await deliverer.deliver(queue.last) is None
    assert len(log_of(database, hook)[0].attempts) == 10


async def test_a_replay_sends_the_same_body_under_a_new_id(
    database: Database, receiver: Receiver, queue: Entries
) -> None:
    hook = register(database, receiver.url)
    tell(database, queue)
    deliverer = Deliverer(database, [receiver.host])
    await deliverer.deliver(queue.last)
    old = queue.last
    again = database.write_here(settlement.replay, USER, hook.id, old)
    assert queue.last == again.id and again.id != old and again.status == "pending"
    await deliverer.deliver(again.id)
    first, second = receiver.seen
    assert first[2] == second[2] and second[1]["webhook-id"] == again.id
    verified(hook.secret, second)
    assert [one.id for one in log_of(database, hook)] == [again.id, old]
    with pytest.raises(NotFound):
        database.write_here(settlement.replay, "eve", hook.id, old)
    database.write_here(endpoints.update, USER, hook.id, enabled=False)
    with pytest.raises(Conflict):
        database.write_here(settlement.replay, USER, hook.id, old)
    assert len(queue.queued) == 2


async def test_an_address_that_became_private_is_not_connected_to(
    database: Database, receiver: Receiver, queue: Entries
) -> None:
    """The same endpoint, delivered by one whose operator lists nothing."""
    hook = register(database, receiver.url)
    tell(database, queue)
    assert await Deliverer(database).deliver(queue.last) == 5
    assert receiver.seen == []
    assert "not a public address" in (log_of(database, hook)[0].attempts[0].error or "")


async def test_a_name_that_leads_home_is_not_connected_to(
    database: Database, receiver: Receiver, queue: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = register(database, f"https://rebind.example:{receiver.port}/")
    tell(database, queue)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", receiver.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    assert await Deliverer(database).deliver(queue.last) == 5
    assert receiver.seen == []
    (attempt,) = log_of(database, hook)[0].attempts
    assert attempt.error == "the URL the host 'rebind.example' leads to an address that is not public."


async def test_an_endpoint_deleted_under_way_ends_its_deliveries(
    database: Database, receiver: Receiver, queue: Entries
) -> None:
    hook = register(database, receiver.url)
    tell(database, queue)
    receiver.answers = [lambda handler: database.write_here(endpoints.delete, USER, hook.id)]
    assert await Deliverer(database, [receiver.host]).deliver(queue.last) is None
    assert len(receiver.seen) == 1
    left = select(func.count()).select_from(tables.delivery_attempts)
    assert database.read_here(lambda connection: connection.execute(left).scalar()) == 0


def test_filters_owners_and_the_disabled_decide_who_is_told(database: Database, queue: Entries) -> None:
    every = register(database, "https://a.example/")
    failures = register(database, "https://b.example/", ("job.failed", "job.cancelled"))
    off = register(database, "https://c.example/")
    database.write_here(endpoints.update, USER, off.id, enabled=False)
    register(database, "https://d.example/", user="eve")
    assert tell(database, queue) == 1
    assert tell(database, queue, "job.failed") == 2
    counts = [len(log_of(database, hook)) for hook in (every, failures, off)]
    assert counts == [2, 1, 0]


def test_a_jobs_own_url_gets_one_endpoint_and_one_secret(database: Database, queue: Entries) -> None:
    for url in ("https://x.example/1", "https://x.example/1", "https://x.example/2"):
        assert tell(database, queue, url=url) == 1
    assert tell(database, queue) == 0  # without its job, nothing
    own = database.read_here(endpoints.page, USER, 10, None, True)
    assert [hook.url for hook in own] == ["https://x.example/2", "https://x.example/1"]
    assert own[0].secret == own[1].secret
    assert database.read_here(endpoints.page, USER, 10) == []
    turned = database.write_here(endpoints.rotate, USER, own[0].id)
    assert turned.secret != own[0].secret
    assert database.read_here(endpoints.find, USER, own[1].id).secret == turned.secret
    with pytest.raises(Conflict):
        database.write_here(endpoints.update, USER, own[0].id, events=[])


def test_a_jobs_own_url_that_is_an_endpoint_is_told_once(database: Database, queue: Entries) -> None:
    hook = register(database, "https://x.example/", ("job.failed",))
    assert tell(database, queue, "job.failed", url=hook.url) == 1
    assert tell(database, queue, "job.succeeded", url=hook.url) == 1
    assert len(log_of(database, hook)) == 2
    database.write_here(endpoints.update, USER, hook.id, enabled=False)
    assert tell(database, queue, url=hook.url) == 0


def test_a_transaction_undone_announces_nothing(database: Database, queue: Entries) -> None:
    hook = register(database, "https://x.example/")

    def finish(connection: Connection) -> None:
        made = endpoints.announce(connection, user=USER, type="job.failed", data="{}", job_id=None, url=None)
        assert len(made) == 1
        raise RuntimeError("the fence is stale")

    with pytest.raises(RuntimeError):
        database.write_here(finish)
    assert log_of(database, hook) == []


def test_secrets_are_made_well_and_not_shown(database: Database) -> None:
    hook = register(database, "https://x.example/")
    assert hook.secret.startswith("whsec_") and hook.secret not in repr(hook)
    mine = "whsec_" + "AAAA" * 8
    assert database.write_here(endpoints.create, USER, "https://y.example/", [], mine).secret == mine
    for bad in ("AAAA" * 8, "whsec_" + "AAAA" * 7, "whsec_" + "AAAA" * 22, "whsec_" + "AA-A" * 8, "whsec_é" + "A" * 40):
        with pytest.raises(InvalidInput):
            database.write_here(endpoints.create, USER, "https://y.example/", [], bad)


# --- over HTTP ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def http(database: Database, receiver: Receiver, queue: Entries) -> AsyncIterator[httpx.AsyncClient]:
    """The routes; the header `user` says who calls."""
    app = FastAPI()
    app.include_router(router(database, [receiver.host]))

    async def refuse(request: Any, error: Any) -> Any:
        return error_response(error, request.url.path, request.scope["request_id"])

    app.add_exception_handler(MedleyError, refuse)

    async def known(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        scope |= {"identity": Identity(headers.get(b"user", USER.encode()).decode()), "request_id": "r1"}
        await app(scope, receive, send)

    transport = httpx.ASGITransport(app=known)
    async with httpx.AsyncClient(transport=transport, base_url="http://medley/api/v1") as client:
        yield client


async def test_an_endpoint_is_made_read_changed_and_deleted(http: httpx.AsyncClient, receiver: Receiver) -> None:
    answer = await http.post("/webhooks", json={"url": receiver.url, "events": ["job.failed"]})
    assert answer.status_code == 201
    made = answer.json()
    secret = made.pop("secret")
    assert secret.startswith("whsec_") and made["enabled"] and made["events"] == ["job.failed"]
    assert datetime.fromisoformat(made["created_at"]).tzinfo == UTC
    place = f"/webhooks/{made['id']}"
    assert (await http.get(place)).json() == made
    listed = await http.get("/webhooks")
    assert listed.json() == {"webhooks": [made], "next_cursor": None}
    assert "secret" not in listed.text and secret[6:] not in listed.text
    changed = (await http.put(place, json={"events": [], "enabled": False})).json()
    assert (changed["events"], changed["enabled"], changed["url"]) == ([], False, receiver.url)
    assert changed["disabled_reason"] == "Disabled by its owner."
    assert (await http.post(f"{place}/test")).status_code == 409
    assert (await http.put(place, json={"enabled": True})).json()["disabled_at"] is None
    turned = (await http.post(f"{place}/secret")).json()["secret"]
    assert turned.startswith("whsec_") and turned != secret
    assert (await http.delete(place)).status_code == 204
    assert (await http.get(place)).status_code == 404


async def test_a_test_event_is_queued_delivered_logged_and_replayed(
    http: httpx.AsyncClient, database: Database, receiver: Receiver, queue: Entries
) -> None:
    made = (await http.post("/webhooks", json={"url": receiver.url, "events": ["job.failed"]})).json()
    place = f"/webhooks/{made['id']}"
    queued = await http.post(f"{place}/test")
    assert queued.status_code == 202 and queued.json()["status"] == "pending"
    assert queue.last == queued.json()["id"]
    deliverer = Deliverer(database, [receiver.host])
    await deliverer.deliver(queue.last)
    assert verified(made["secret"], receiver.seen[0])["type"] == "webhook.test"
    again = await http.post(f"{place}/deliveries/{queue.last}/replay")
    assert again.status_code == 202 and again.json()["id"] == queue.last
    await deliverer.deliver(queue.last)
    log = (await http.get(f"{place}/deliveries")).json()
    assert [row["status"] for row in log["deliveries"]] == ["delivered", "delivered"]
    assert json.loads(log["deliveries"][0]["body"])["data"] == {"webhook": made["id"]}
    (attempt,) = log["deliveries"][0]["attempts"]
    assert (attempt["number"], attempt["status_code"], attempt["error"]) == (1, 200, None)
    assert (await http.post(f"{place}/deliveries/msg_nothing/replay")).status_code == 404


async def test_users_do_not_see_each_others_endpoints(http: httpx.AsyncClient, receiver: Receiver) -> None:
    made = (await http.post("/webhooks", json={"url": receiver.url})).json()
    place = f"/webhooks/{made['id']}"
    delivery = (await http.post(f"{place}/test")).json()["id"]
    eve = {"user": "eve"}
    for method, path in [
        ("GET", place),
        ("PUT", place),
        ("DELETE", place),
        ("POST", f"{place}/secret"),
        ("POST", f"{place}/test"),
        ("GET", f"{place}/deliveries"),
        ("POST", f"{place}/deliveries/{delivery}/replay"),
    ]:
        answer = await http.request(method, path, headers=eve, json={} if method == "PUT" else None)
        assert answer.status_code == 404, (method, path)
        assert receiver.host not in answer.text
    assert (await http.get("/webhooks", headers=eve)).json()["webhooks"] == []
    theirs = (await http.post("/webhooks", json={"url": receiver.url}, headers=eve)).json()
    crossed = f"/webhooks/{theirs['id']}/deliveries/{delivery}/replay"  # one's own endpoint, another's delivery
    assert (await http.post(crossed, headers=eve)).status_code == 404
    assert (await http.get(place)).json()["enabled"]


async def test_pages_follow_each_other_without_gap_or_repeat(http: httpx.AsyncClient, receiver: Receiver) -> None:
    made = [(await http.post("/webhooks", json={"url": receiver.url})).json()["id"] for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for size in (2, 2, 1):
        answer = (await http.get("/webhooks", params={"limit": 2, **cursor})).json()
        assert len(answer["webhooks"]) == size
        seen += [row["id"] for row in answer["webhooks"]]
        cursor = {"cursor": answer["next_cursor"]}
    assert sorted(seen) == sorted(made) and seen == sorted(seen, reverse=True)
    assert cursor == {"cursor": None}


@pytest.mark.parametrize(
    ("query", "at"),
    [("cursor=x", "cursor"), ("cursor=", "cursor"), ("limit=0", "limit"), ("limit=101", "limit"), ("limit=a", "limit")],
)
async def test_paging_that_makes_no_sense_is_refused(http: httpx.AsyncClient, query: str, at: str) -> None:
    answer = await http.get(f"/webhooks?{query}")
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == at


@pytest.mark.parametrize(
    ("body", "at", "says"),
    [
        ('{"url": "http://127.0.0.1:1/"}', "url", "not a public address"),
        ('{"url": "https://no-such-host.invalid/"}', "url", "resolve"),
        ('{"url": "https://8.8.8.8/", "events": ["job.suceeded"]}', "events", "Did you mean 'job.succeeded'?"),
        ('{"url": "https://8.8.8.8/", "events": ["job.own"]}', "events", "there is no event"),
        ('{"url": "https://8.8.8.8/", "secret": "hunter2"}', "secret", "whsec_"),
        ('{"url": "https://8.8.8.8/", "event": []}', "event", "Did you mean 'events'?"),
        ("{}", "url", "required"),
        ("[]", "body", "object"),
        ("{", "body", "JSON"),
        ("", "url", "required"),
    ],
)
async def test_an_endpoint_that_cannot_be_is_refused_at_its_field(
    http: httpx.AsyncClient, body: str, at: str, says: str
) -> None:
    answer = await http.post("/webhooks", content=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == at
    assert says in answer.json()["errors"][0]["detail"]
    assert "hunter2" not in answer.text
    assert (await http.get("/webhooks")).json()["webhooks"] == []


async def test_a_change_is_checked_like_a_creation(http: httpx.AsyncClient, receiver: Receiver) -> None:
    made = (await http.post("/webhooks", json={"url": receiver.url})).json()
    for change in ({"url": "http://127.0.0.1:1/"}, {"events": ["job.x"]}, {"secret": "whsec_x"}):
        assert (await http.put(f"/webhooks/{made['id']}", json=change)).status_code == 422
    assert (await http.get(f"/webhooks/{made['id']}")).json()["url"] == receiver.url


async def test_a_user_has_at_most_twenty(http: httpx.AsyncClient, database: Database, queue: Entries) -> None:
    for number in range(20):
        register(database, f"https://x.example/{number}")
    full = await http.post("/webhooks", json={"url": "https://8.8.8.8/"})
    assert full.status_code == 409 and "20 webhooks" in full.json()["detail"]
    assert tell(database, queue, url="https://y.example/") == 21  # a job's own does not count, and is not in the way
    assert (await http.post("/webhooks", json={"url": "https://8.8.8.8/"}, headers={"user": "eve"})).status_code == 201
