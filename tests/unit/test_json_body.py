"""Large and deep JSON of callers: bounded before it costs memory, and answered in a few lines."""

import json
import time
import tracemalloc
from collections.abc import AsyncIterator

import httpx
import pytest

from deployments.errors import InvalidInput
from serve_app.gateway.json_body import MAX_COMMAS, MAX_VALUES, check_values, parsed_field

from .services import Make

CHAT = "/api/v1/graphs/chat"
SMALL_ANSWER = 64_000


@pytest.fixture
async def http(make: Make) -> httpx.AsyncClient:
    return make().client()


def unknown_keys(count: int) -> str:
    return json.dumps({f"key{number}": number for number in range(count)})


HOSTILE = {
    "100,000 unknown keys": unknown_keys(100_000),
    "5,000 unknown keys": unknown_keys(5000),  # small enough to be validated
    "a long unknown key": json.dumps({"k" * 60_000: 1}),
    "a long model name": json.dumps({"messages": [], "models": {"writer": "m" * 60_000}}),
    "lists": '{"messages": [' + "[]," * 600_000 + "[]]}",
    "objects": '{"messages": [' + "{}," * 20_000 + "{}]}",
    "numbers": "[" + "1," * 900_000 + "1]",
    "depth": "[" * 100_000,
    "closed depth": "[" * 50_000 + "]" * 50_000,
    "one wrong role many times": json.dumps({"messages": [{"role": "x" * 100, "content": "y"}] * 15_000}),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("path", [CHAT, "/v1/chat/completions"])
async def test_hostile_json_is_answered_quickly_and_briefly(http: httpx.AsyncClient, body: str, path: str) -> None:
    began = time.process_time()  # of a core: other work on the machine does not count
    answer = await http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 404, 422)
    assert len(answer.content) <= SMALL_ANSWER
    assert time.process_time() - began < 3


async def test_at_most_twenty_errors_are_answered(http: httpx.AsyncClient) -> None:
    errors = (await http.post(CHAT, content=unknown_keys(3000))).json()["errors"]
    assert len(errors) == 21
    assert errors[-1] == {"field": "body", "detail": "has 2,981 more errors", "code": "more_errors"}


async def test_a_text_body_over_its_limit_is_refused_by_the_limits_name(make: Make) -> None:
    http = make({"max_text_mb": 0.1}).client()
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 1000}] * 150})
    for path in (CHAT, "/v1/chat/completions"):
        answer = await http.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert "gateway.max_text_mb" in answer.text
    unannounced = await http.post(CHAT, content=_pieces(body), headers={"content-type": "application/json"})
    assert unannounced.status_code == 413


async def _pieces(body: str) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 10_000):
        yield body[at : at + 10_000].encode()


def test_values_are_counted_before_they_take_memory() -> None:
    body = b"[" + b"[]," * (MAX_COMMAS + 1) + b"[]]"
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="values"):
        check_values(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_long_text_with_commas_is_one_value() -> None:
    check_values(json.dumps({"content": "1," * (MAX_VALUES * 4)}).encode())


def test_a_forms_json_is_counted_too() -> None:
    assert parsed_field("[1, 2]") == [1, 2]
    assert parsed_field("[1, 2") == "[1, 2"
    with pytest.raises(InvalidInput, match="values"):
        parsed_field("[" + "1," * MAX_VALUES + "1]")
