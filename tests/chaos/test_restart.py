"""All of Ray is killed, its head first, and started again: jobs finish, and nothing that was acknowledged is lost."""

import contextlib
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.service.live import Live, started

from .sizes import size

PROFILE = Path("bench/medley.yaml")  # three trivial models
JOBS = size(200, 3000)
BODY = {"text": "a red circle", "models": {"first": "echo-1", "second": "echo-2", "third": "echo-3"}}


def submit(live: Live, count: int) -> list[str]:
    """The ids of the jobs that the service acknowledged, until it died."""
    acknowledged: list[str] = []
    with live.client() as client, contextlib.suppress(httpx.HTTPError):
        for _ in range(count):
            answer = client.post("/api/v1/graphs/chain", json=BODY, headers={"prefer": "respond-async"})
            assert answer.status_code == 202, answer.text
            acknowledged.append(answer.json()["id"])
    return acknowledged


def kill_everything(live: Live) -> None:
    """What a power cut does to the processes of this Medley."""
    root = psutil.Process(live.state.pid)
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs([root], timeout=30)


@pytest.mark.timeout(900)  # it starts twice
def test_a_head_that_dies_and_comes_back_loses_no_job(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with contextlib.ExitStack() as first:
        live = first.enter_context(started(home, PROFILE))
        acknowledged = submit(live, JOBS)
        assert len(acknowledged) == JOBS
        kill_everything(live)
        died = time.monotonic()
    with started(home, PROFILE) as again, again.client() as client:
        back = time.monotonic() - died
        states = {}
        deadline = time.monotonic() + 120
        while len(states) < JOBS and time.monotonic() < deadline:
            for id in acknowledged:
                if id not in states:
                    job = client.get(f"/api/v1/jobs/{id}").json()
                    if job["status"] in ("succeeded", "failed", "cancelled"):
                        states[id] = job
        finished = time.monotonic() - died
    print(f"\n{JOBS} jobs acknowledged, all of Ray killed: back after {back:.0f} s, all ended after {finished:.0f} s")
    assert [job["status"] for job in states.values()] == ["succeeded"] * JOBS
    assert all(job["output"]["text"] == BODY["text"] and len(job["steps"]) == 3 for job in states.values())
