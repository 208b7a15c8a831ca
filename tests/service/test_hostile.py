"""Others are served while somebody holds connections and bodies open (`make bench PART=hostile` has the figures)."""

import asyncio
import threading
import time
from typing import Any

import httpx
import pytest

from bench import attacks
from bench.attacks import Tally, Target

from .live import Live


@pytest.mark.parametrize(
    ("attack", "count", "answers"),
    [
        (attacks.unfinished_headers, 500, {408}),
        (attacks.slow_bodies, 150, {429}),  # a hundred are waited for, the others are refused at once
        (attacks.keyless_bodies, 150, {401}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_others_are_served_meanwhile(
    attack: Any, count: int, answers: set[int], live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attacks, "HELD_S", 7.0)
    monkeypatch.setattr(attacks, "CHAIN", "/api/v1/graphs/chat")
    tally = Tally()
    thread = threading.Thread(target=lambda: asyncio.run(attack(Target(live.url, live.key), tally, count)))
    thread.start()
    seconds: list[float] = []
    with live.client() as client:
        while thread.is_alive() or not seconds:
            began = time.monotonic()
            assert client.get("/api/v1/identity").status_code == 200
            seconds.append(time.monotonic() - began)
            time.sleep(0.05)
    assert set(tally.statuses) == answers
    assert sorted(seconds)[int(len(seconds) * 0.95)] < 2  # this process attacks too


def test_a_conversation_of_six_megabytes_reaches_the_model(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": "a" * 31_000}] * 200
    answer = client.post("/api/v1/graphs/chat", json={"messages": messages})
    assert answer.status_code == 422 and "6,200,000 characters" in answer.json()["detail"]  # refused unread


def test_callers_do_not_steer_ray(client: httpx.Client) -> None:
    headers: Any = [
        (b"x-request-timeout-seconds", b"0.000001"),
        (b"x-request-id", b"\xff\xfe"),
        (b"x-request-id", b"b"),
    ]
    answer = client.get("/api/v1/identity", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] not in ("b", "")
