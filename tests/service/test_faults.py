"""What happens when something is lost in the middle of a request."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from .live import Live, until

SLOW = {"prompt": "a red circle on blue", "steps": 60, "count": 4, "seed": 3, "width": 512, "height": 512}


def test_a_killed_replica_costs_no_request(live: Live, client: httpx.Client) -> None:
    """The painter is killed while it paints: the request is retried on a new replica, or is a 503 that says when."""
    before = live.pids()["starter-painter"]
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(client.post, "/api/v1/graphs/image_generation", json=SLOW)
        time.sleep(1.0)  # it is painting now: four pictures take several seconds
        assert not request.done()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        answer = request.result(120)
    assert answer.status_code in (200, 503), answer.text
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) > 0
    print(f"killed {len(before)} replica(s): {answer.status_code}, {answer.headers.get('server-timing')}")
    until(lambda: live.pids()["starter-painter"] - before, 60)
    live.until_ready()
    again = client.post("/api/v1/graphs/image_generation", json={"prompt": "a red circle", "seed": 3})
    assert again.status_code == 200, again.text


def test_a_writer_killed_while_it_writes_ends_the_stream_with_an_error(live: Live, client: httpx.Client) -> None:
    asked = {
        "model": "default",
        "messages": [{"role": "user", "content": "Tell a story in 6 scenes about a fox."}],
        "stream": True,
    }
    before = live.pids()["starter-writer"]
    with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        *_, last = [line for line in lines if line]
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["content"]
    assert json.loads(last.removeprefix("data: "))["error"]["message"] == "A replica of starter-writer was lost."
    until(lambda: live.pids()["starter-writer"] - before, 60)
    live.until_ready()
    with client.stream("POST", "/v1/chat/completions", json=asked) as answer:  # the new one finds its way here too
        assert [line for line in answer.iter_lines() if line][-1] == "data: [DONE]"


def test_a_client_that_leaves_frees_the_model(live: Live, client: httpx.Client) -> None:
    """A long run is cancelled on the replica when its client goes: the next one does not wait for it."""
    began = time.monotonic()
    assert client.post("/api/v1/graphs/image_generation", json=SLOW).status_code == 200
    whole = time.monotonic() - began

    left = threading.Event()

    def leave() -> None:
        with live.client() as session:
            try:
                session.post("/api/v1/graphs/image_generation", json={**SLOW, "count": 8}, timeout=0.7)
            except httpx.ReadTimeout:
                left.set()

    for _ in range(3):
        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
    assert left.is_set()
    began = time.monotonic()
    answer = client.post("/api/v1/graphs/image_generation", json={"prompt": "a circle", "steps": 5, "seed": 1})
    waited = time.monotonic() - began
    assert answer.status_code == 200
    print(f"the four-picture run alone takes {whole:.1f} s; after three abandoned ones of eight: {waited:.1f} s")
    assert waited < whole


def test_a_killed_gateway_comes_back(live: Live, client: httpx.Client) -> None:
    before = live.pids()["gateway"]
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: live.pids()["gateway"] - before, 60)
    live.until_ready()
    until(lambda: client.get("/api/v1/identity").status_code == 200, 30)
