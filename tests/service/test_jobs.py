"""Durable jobs on a live Medley: processes are killed and replaced under them, and people watch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets.sync.client

from serve_app.clients.http import Remote, ServerEvent
from serve_app.jobs.job import ENDED

from .live import Live, profile_document, until
from .samples import Samples, opened
from .test_deploy import deploy, entry

GRAPHS, JOBS = "/api/v1/graphs", "/api/v1/jobs"
ASYNC = {"prefer": "respond-async"}
LARGE = {"width": 512, "height": 512}  # four times the work: the pictures of a request are painted together
LONG = {"prompt": "a red circle on blue", "steps": 100, "count": 4, **LARGE}  # about ten seconds
SPOKEN_STEPS = ["ears.transcribe", "writer.chat", "painter.generate"]


def submit(client: httpx.Client, graph: str, body: dict[str, Any], **options: Any) -> str:
    answer = client.post(f"{GRAPHS}/{graph}", json=body, headers=ASYNC, **options)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def job(client: httpx.Client, id: str) -> dict[str, Any]:
    answer = client.get(f"{JOBS}/{id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(client: httpx.Client, ids: list[str], seconds: float) -> list[dict[str, Any]]:
    """The jobs once all have ended; while the gateway is away, too."""
    found: dict[str, dict[str, Any]] = {}

    def all_ended() -> bool:
        for id in ids:
            if id not in found:
                answer = client.get(f"{JOBS}/{id}")
                if answer.status_code == 200 and answer.json()["status"] in ENDED:
                    found[id] = answer.json()
        return len(found) == len(ids)

    until(all_ended, seconds)
    return [found[id] for id in ids]


def events_of(live: Live, id: str) -> list[ServerEvent]:
    return list(Remote(live.url, live.key).follow(id))


def running(client: httpx.Client, id: str) -> bool:
    return job(client, id)["status"] == "running"


def test_ten_jobs_outlive_a_killed_worker_and_a_killed_model(
    live: Live, client: httpx.Client, samples: Samples
) -> None:
    before = live.pids()
    body = samples.json("speech_to_image")
    ids = [submit(client, "speech_to_image", {**body, "seed": 1000 + number}) for number in range(10)]
    until(lambda: any(job(client, id)["steps"] for id in ids), 60)
    worker, painter = min(before["worker"]), min(before["starter-painter"])
    os.kill(worker, signal.SIGKILL)
    os.kill(painter, signal.SIGKILL)
    jobs = ended(client, ids, 200)
    assert [one["status"] for one in jobs] == ["succeeded"] * 10, [one["error"] for one in jobs]
    for one in jobs:
        assert [step["name"] for step in one["steps"]] == SPOKEN_STEPS
        assert begun_again(events_of(live, one["id"])) == []
        result = client.get(f"{JOBS}/{one['id']}/result").json()
        assert "red circle" in result["transcript"]
        assert opened(result["image"]).size == (256, 256)
    print(f"attempts: {[one['metrics']['attempts'] for one in jobs]}")
    until(lambda: live.pids()["worker"] - before["worker"] and live.pids()["starter-painter"] - {painter}, 90)
    live.until_ready()


def begun_again(events: list[ServerEvent]) -> list[str]:
    """Steps that began after they were done."""
    done: set[str] = set()
    again: list[str] = []
    for event in events:
        if event.kind == "step" and event.data["status"] == "succeeded":
            done.add(event.data["name"])
        elif event.kind == "step" and event.data["status"] == "running" and event.data["name"] in done:
            again.append(event.data["name"])
    return again


def handed_over(live: Live, id: str) -> bool:
    with live.client() as session, session.stream("GET", f"{JOBS}/{id}/events") as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        for line in lines:
            data = json.loads(line.removeprefix("data: "))
            if data.get("message") == "handed over to another worker":
                return True
            if data.get("status") in ENDED and "name" not in data:
                return False
    return False


@pytest.mark.slow
def test_a_rolling_update_hands_jobs_over(live: Live, client: httpx.Client, tmp_path: Path) -> None:
    """`serve deploy` with other workers: the old ones give back what they run, with the steps that are done."""
    original, changed = profile_document(), profile_document()
    entry(changed, "worker")["ray_actor_options"]["num_cpus"] = 0.11
    before = live.pids()["worker"]
    # More work than there is time for until the old workers go; what is left of it then is cancelled.
    ids = [submit(client, "image_generation", {**LONG, "seed": 2000 + number}) for number in range(8)]
    try:
        until(lambda: all(job(client, id)["status"] != "queued" for id in ids), 60)
        deploy(live, changed, tmp_path)
        until(lambda: not live.pids()["worker"] & before, 120)
        handed = [id for id in ids if handed_over(live, id)]
        kept = handed[:2]
        for id in set(ids) - set(kept):
            client.post(f"{JOBS}/{id}/cancel")
        jobs = ended(client, kept, 120)
    finally:
        for id in ids:
            client.post(f"{JOBS}/{id}/cancel")
        deploy(live, original, tmp_path)
        time.sleep(1)
        live.until_ready()
    assert handed
    assert [one["status"] for one in jobs] == ["succeeded"] * len(jobs), [one["error"] for one in jobs]
    for one in jobs:
        names = [step["name"] for step in one["steps"]]
        assert len(names) == len(set(names)) == 4
        assert begun_again(events_of(live, one["id"])) == []
        # Handed over, not lost: nobody waited for a lease to run out, and no attempt was counted.
        assert one["metrics"]["attempts"] == 1
    print(f"{len(handed)} of {len(ids)} jobs were handed over")


def test_a_watch_outlives_the_gateway(live: Live, client: httpx.Client) -> None:
    # Longer than the command takes to start on a busy machine: it is to be watching when the gateway goes.
    id = submit(client, "image_generation", {**LONG, "count": 8, "seed": 3000})
    before = live.pids()["gateway"]
    command = [sys.executable, "-m", "serve_app", "jobs", "watch", id, "--json"]
    watching = subprocess.Popen(command, env=live.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert watching.stdout
        lines = [watching.stdout.readline()]
        until(lambda: running(client, id), 60)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        lines += watching.stdout  # to the end
        assert watching.wait(10) == 0
    finally:
        watching.kill()
    numbers = [json.loads(line)["seq"] for line in lines]
    assert numbers == list(range(1, len(numbers) + 1))
    until(lambda: live.pids()["gateway"] - before, 60)
    live.until_ready()
    until(lambda: client.get("/api/v1/identity").status_code == 200, 30)


def test_a_socket_tells_what_happens_through_the_proxy(live: Live, client: httpx.Client, samples: Samples) -> None:
    id = submit(client, "speech_to_image", {**samples.json("speech_to_image"), "seed": 4000})
    address = f"{live.url.replace('http', 'ws')}{JOBS}/{id}/events"
    bearer = {"authorization": f"Bearer {live.key}"}
    with websockets.sync.client.connect(address, additional_headers=bearer) as socket:
        told = [json.loads(message) for message in socket]
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert told[-1]["data"] == {"status": "succeeded"}
    assert [ServerEvent(event["seq"], event["kind"], event["data"]) for event in told] == events_of(live, id)
    with websockets.sync.client.connect(f"{address}?last_event_id=2", additional_headers=bearer) as socket:
        assert [json.loads(message) for message in socket] == told[2:]


def test_the_command_line_lists_shows_watches_and_cancels(
    live: Live, client: httpx.Client, samples: Samples, output: Path
) -> None:
    made = live.medley("run", "speech_to_image", *samples.command("speech_to_image"), "--detach")
    assert made.returncode == 0, made.stdout + made.stderr
    id = made.stdout.split()[0]
    watched = live.medley("jobs", "watch", id)
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert all(name in watched.stdout for name in SPOKEN_STEPS)
    listed = live.medley("jobs", "list", "--status", "succeeded", "--graph", "speech_to_image", "--limit", "5")
    assert id in listed.stdout, listed.stdout + listed.stderr
    shown = live.medley("jobs", "show", id, "--out", str(output))
    assert "painter.generate" in shown.stdout, shown.stdout + shown.stderr
    assert opened_file(output / "speech_to_image-image.png") == (256, 256)

    long = submit(client, "image_generation", {**LONG, "count": 8, "seed": 5000})  # the command takes seconds to start
    until(lambda: running(client, long), 60)
    cancelled = live.medley("jobs", "cancel", long)
    assert cancelled.returncode == 0, cancelled.stdout + cancelled.stderr
    watched = live.medley("jobs", "watch", long)
    assert (watched.returncode, watched.stdout.splitlines()[-1]) == (1, "cancelled")
    missing = live.medley("jobs", "show", "nothing")
    assert (missing.returncode, "There is no job 'nothing'." in missing.stderr) == (1, True)
    assert "Traceback" not in missing.stderr


def test_a_cancelled_job_frees_its_model(client: httpx.Client) -> None:
    began = time.monotonic()
    ids = [submit(client, "image_generation", {**LONG, "seed": 6000 + number}) for number in range(3)]
    until(lambda: any(running(client, id) for id in ids), 60)
    for id in ids:
        assert client.post(f"{JOBS}/{id}/cancel").status_code in (200, 202)
    assert [one["status"] for one in ended(client, ids, 30)] == ["cancelled"] * 3
    answer = client.post(f"{GRAPHS}/image_generation", json={"prompt": "a circle", "steps": 5, "seed": 1})
    assert answer.status_code == 200, answer.text
    print(f"three long jobs were cancelled and the next run done after {time.monotonic() - began:.1f} s")


def opened_file(path: Path) -> tuple[int, int]:
    from PIL import Image

    return Image.open(path).size
