"""Callbacks at the gateway: which are believed, and how the board brings them to who waits."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from ray.exceptions import ActorDiedError
from starlette.types import ASGIApp

from deployments import BACKENDS
from deployments.callbacks import CALLBACK_PATH, MOST_BODY, TOLERANCE_S, ended_task, is_signed
from serve_app.gateway.http_app import http_app
from serve_app.models import callback_board
from serve_app.models.callback_board import MAX_UNCLAIMED, Board, SharedBoard, tell
from serve_app.replicas.multiplexed import multiplexed_replica
from serve_app.replicas.replica import replica

from .services import KEY, USERS, Keys, Served, connect

SECRET = "the-secret-of-callbacks"
ENDED = json.dumps(
    {"task_id": "t-1", "status": "COMPLETED", "generated": ["https://x/y"], "has_nsfw": [False]}
).encode()
QUICK_S = 0.05


def signature(body: bytes, at: str, secret: str = SECRET, version: str = "v1") -> str:
    digest = hmac.new(secret.encode(), b"id-1." + at.encode() + b"." + body, hashlib.sha256).digest()
    return f"{version},{base64.b64encode(digest).decode()}"


def signed(body: bytes = ENDED, late_s: float = 0, **changed: str | None) -> dict[str, str]:
    """The headers of a callback; `changed` has those that are otherwise, None for one that is missing."""
    at = str(int(time.time() - late_s))
    usual = {"id": "id-1", "timestamp": at, "signature": signature(body, changed.get("timestamp") or at)}
    return {f"webhook-{name}": value for name, value in {**usual, **changed}.items() if value is not None}


class Told(list[str]):
    async def __call__(self, task: str) -> None:
        self.append(task)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def app(served: Served, told: Told) -> ASGIApp:
    return http_app(served.service, Keys(USERS), callback_secret=SECRET, tell=told)


async def sent(app: ASGIApp, headers: dict[str, str], body: Any = ENDED) -> httpx.Response:
    """Without a key, as a provider has none."""
    return await connect(app, {}).post(CALLBACK_PATH, content=body, headers=headers)


async def test_what_is_signed_is_told(app: ASGIApp, told: Told) -> None:
    answer = await sent(app, signed())
    assert (answer.status_code, answer.content, told) == (204, b"", ["t-1"])


async def test_any_of_several_signatures_is_enough(app: ASGIApp, told: Told) -> None:
    now = str(int(time.time()))
    both = f"{signature(ENDED, now, 'older')} {signature(ENDED, now, version='v2')}"
    assert (await sent(app, signed(timestamp=now, signature=both))).status_code == 204
    assert told == ["t-1"]


@pytest.mark.parametrize(
    "made",  # when the test runs: a time is among them
    [
        lambda: {},
        lambda: signed(signature=None),
        lambda: signed(id=None),
        lambda: signed(timestamp=None),
        lambda: signed(id="id-2"),
        lambda: signed(signature=""),
        lambda: signed(signature="v1,"),
        lambda: signed(signature="v1"),
        lambda: signed(signature="é"),
        lambda: signed(signature=signature(ENDED, str(int(time.time())), "forged")),
        lambda: signed(b"another body"),
        lambda: signed(late_s=TOLERANCE_S + 5),
        lambda: signed(late_s=-TOLERANCE_S - 60),
        lambda: signed(timestamp="now"),
        lambda: signed(timestamp="9" * 5000),
        lambda: signed(timestamp="-1"),
        lambda: {"authorization": f"Bearer {KEY}"},
    ],
)
async def test_what_is_not_signed_now_is_refused(
    made: Callable[[], dict[str, str]], app: ASGIApp, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = made()
    answer = await sent(app, {name: value.encode("latin-1") for name, value in headers.items()})  # type: ignore[misc]
    assert answer.status_code == 401, answer.text
    assert answer.json()["type"].endswith("/invalid-signature")
    assert told == []
    assert SECRET not in answer.text + caplog.text


async def test_a_callback_may_be_late_for_a_while(app: ASGIApp, told: Told) -> None:
    assert (await sent(app, signed(late_s=TOLERANCE_S - 30))).status_code == 204
    assert told == ["t-1"]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"task_id": "t-1", "status": "IN_PROGRESS", "generated": []}).encode(),
        json.dumps({"task_id": "../x", "status": "COMPLETED"}).encode(),
        json.dumps({"task_id": "t-1", "status": "odd"}).encode(),
        b"[]",
        b"{",
        b"\xff",
        b"",
    ],
)
async def test_what_says_no_end_is_taken_and_not_told(body: bytes, app: ASGIApp, told: Told) -> None:
    assert (await sent(app, signed(body), body)).status_code == 204
    assert told == []


async def test_a_task_that_failed_has_ended() -> None:
    assert ended_task(json.dumps({"task_id": "t-1", "status": "FAILED", "more": 1}).encode()) == "t-1"


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_not_read_to_its_end(announced: bool, app: ASGIApp, told: Told) -> None:
    read = 0

    async def pieces() -> Any:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * MOST_BODY

    headers = signed() | ({"content-length": str(100 * MOST_BODY)} if announced else {})
    answer = await sent(app, headers, pieces())
    assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (413, "body-too-large")
    assert read < 100
    assert told == []


async def test_without_a_secret_there_is_no_such_route(served: Served) -> None:
    assert (await sent(served.app, signed())).status_code == 404


async def test_nothing_is_read_from_it(app: ASGIApp) -> None:
    assert (await connect(app, {}).get(CALLBACK_PATH)).status_code == 405


def test_an_empty_secret_signs_nothing_that_another_has_signed() -> None:
    assert not is_signed(signed(), ENDED, "", time.time())


class TestBoard:
    """What the actor does, without one."""

    async def test_who_waits_is_told_at_once(self) -> None:
        board = Board()
        waits = asyncio.create_task(board.wait("t", 10))
        await asyncio.sleep(0)
        await board.tell("t")
        await board.tell("t")
        async with asyncio.timeout(1):
            assert await waits

    async def test_who_comes_later_is_told_too_and_once(self) -> None:
        board = Board()
        await board.tell("t")
        await board.tell("t")
        assert await board.wait("t", QUICK_S)
        assert not await board.wait("t", QUICK_S)

    async def test_others_are_not_woken(self) -> None:
        board = Board()
        waits = asyncio.create_task(board.wait("mine", QUICK_S))
        await asyncio.sleep(0)
        await board.tell("another")
        assert not await waits

    async def test_a_wait_that_was_left_takes_nothing_from_the_next(self) -> None:
        board = Board()
        left = asyncio.create_task(board.wait("t", QUICK_S))
        await asyncio.sleep(0)
        waits = asyncio.create_task(board.wait("t", 10))
        assert not await left
        await board.tell("t")
        async with asyncio.timeout(1):
            assert await waits

    async def test_only_so_many_are_remembered(self) -> None:
        board = Board()
        for number in range(MAX_UNCLAIMED + 10):
            await board.tell(f"t-{number}")
        assert not await board.wait("t-9", 0.001)
        assert await board.wait("t-10", 0.001)


class Actor:
    """A board behind an actor's calls; `lost`, it answers as a dead actor does."""

    def __init__(self) -> None:
        self.board, self.lost = Board(), False
        self.wait = SimpleNamespace(remote=lambda *args: self._call(self.board.wait, *args))
        self.tell = SimpleNamespace(remote=lambda *args: self._call(self.board.tell, *args))

    async def _call(self, method: Any, *args: Any) -> Any:
        if self.lost:
            raise ActorDiedError()
        return await method(*args)


class TestSharedBoard:
    """Its two ends, over an actor that is none."""

    @pytest.fixture
    def actors(self, monkeypatch: pytest.MonkeyPatch) -> list[Actor]:
        """Those that were made; the last one has the name."""
        made: list[Actor] = []

        def opened() -> Actor:
            if not made or made[-1].lost:
                made.append(Actor())
            return made[-1]

        def found(name: str, namespace: str) -> Actor:
            if not made:
                raise ValueError(f"no actor {name}")
            return made[-1]

        monkeypatch.setattr(callback_board, "_open", opened)
        monkeypatch.setattr(callback_board.ray, "get_actor", found)
        return made

    async def test_a_gateway_reaches_a_replica(self, actors: list[Actor]) -> None:
        waits = asyncio.create_task(SharedBoard().wait("t", 10))
        async with asyncio.timeout(2):
            while not (actors and actors[0].board._waiting):
                await asyncio.sleep(0.01)
            await tell("t")
            assert await waits
        assert len(actors) == 1

    async def test_without_a_board_nothing_is_told_or_made(self, actors: list[Actor]) -> None:
        await tell("t")
        assert actors == []

    async def test_a_lost_board_costs_the_time_of_a_wait_and_is_made_again(self, actors: list[Actor]) -> None:
        board = SharedBoard()
        assert not await board.wait("t", QUICK_S)
        actors[0].lost = True
        started = time.monotonic()
        assert not await board.wait("t", QUICK_S)
        assert time.monotonic() - started >= QUICK_S * 0.9  # what polls meanwhile must not spin
        await tell("t")  # to the dead one
        assert not await board.wait("t", QUICK_S)
        await tell("t")
        assert await board.wait("t", QUICK_S)
        assert len(actors) == 2


async def test_replicas_listen_where_a_provider_calls_back(in_serve: None, monkeypatch: pytest.MonkeyPatch) -> None:
    freepik, other = BACKENDS["freepik_text_to_image"], BACKENDS["palette"]
    assert isinstance(replica(freepik)().callbacks, SharedBoard)
    assert not hasattr(replica(other)(), "callbacks")
    monkeypatch.setenv("FREEPIK_API_KEY", "key")
    shared: Any = multiplexed_replica(freepik, "host", {}, 1)()
    await shared.reconfigure({})
    async with shared.in_use("host") as loaded:
        assert isinstance(loaded.backend.callbacks, SharedBoard)
