"""Ray's own commands on the same file: `serve deploy` changes what changed and leaves the rest running."""

import copy
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.backend import weights_path
from deployments.media import Image
from serve_app.provisioning.ray_environment import free_ports

from .live import Live, profile_document, until
from .samples import from_url, opened

SERVE = str(Path(sys.executable).with_name("serve"))


def deploy(live: Live, document: dict[str, Any], folder: Path) -> None:
    """`serve deploy FILE`, as an operator does it."""
    document["http_options"]["port"] = live.port
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    ran = subprocess.run(
        [SERVE, "deploy", str(path), "-a", live.state.dashboard], env=live.environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def entry(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in document["applications"][0]["deployments"] if item["name"] == name)


@pytest.fixture
def document(live: Live, tmp_path: Path) -> Any:
    """The profile, to be changed; deployed again unchanged afterwards."""
    original = profile_document()
    yield copy.deepcopy(original)
    deploy(live, original, tmp_path)
    time.sleep(1)
    live.until_ready()


def painted(client: httpx.Client) -> Image:
    answer = client.post("/api/v1/graphs/image_generation", json={"prompt": "a red circle on blue", "seed": 1})
    assert answer.status_code == 200, answer.text
    return Image(from_url(answer.json()["images"][0]), "image/png")


def test_a_changed_user_config_reaches_one_deployment(
    live: Live, client: httpx.Client, document: dict[str, Any], tmp_path: Path
) -> None:
    before = live.pids()
    assert opened(painted(client)).size == (256, 256)
    entry(document, "starter-painter")["user_config"]["upscale_to"] = 128
    deploy(live, document, tmp_path)
    until(lambda: opened(painted(client)).size == (128, 128), 60)
    assert live.pids() == before  # changed in place: not one process was replaced


def test_weights_change_under_load_and_no_request_fails(live: Live, document: dict[str, Any], tmp_path: Path) -> None:
    weights = shutil.copytree(weights_path("starter/painter"), tmp_path / "painter")
    sizes, stop = list[tuple[int, int]](), threading.Event()

    def ask() -> None:
        with live.client() as client:
            while not stop.is_set():
                sizes.append(opened(painted(client)).size)  # fails unless the answer is a picture

    with ThreadPoolExecutor(3) as callers:
        asking = [callers.submit(ask) for _ in range(3)]
        try:
            until(lambda: len(sizes) > 3, 60)
            entry(document, "starter-painter")["user_config"] |= {"weights": str(weights), "upscale_to": 128}
            deploy(live, document, tmp_path)
            until(lambda: (128, 128) in sizes or any(one.done() for one in asking), 60)
        finally:
            stop.set()
        for one in asking:
            one.result()
    assert {(256, 256), (128, 128)} == set(sizes)


@pytest.mark.slow
def test_weights_that_are_not_there_are_named_to_callers_by_health_and_by_serve_status_and_others_go_on(
    live: Live, client: httpx.Client, document: dict[str, Any], tmp_path: Path
) -> None:
    asked = {"prompt": "a red circle on blue", "seed": 1}
    picture = client.post("/api/v1/graphs/image_generation", json=asked).json()["images"][0]
    missing = tmp_path / "missing"
    entry(document, "starter-upscaler").setdefault("user_config", {})["weights"] = str(missing)
    deploy(live, document, tmp_path)
    answer = client.post("/api/v1/graphs/image_upscale", json={"image": picture})
    assert answer.status_code == 503, answer.text
    why = f"ModelUnavailable: {missing} is not a folder on this machine"
    assert "starter-upscaler: cannot be started" in answer.json()["detail"] and why in answer.json()["detail"]

    row = next(row for row in client.get("/health").json()["models"] if row["name"] == "starter-upscaler")
    assert row["status"] == "UNHEALTHY" and why in row["message"], row
    command = [SERVE, "status", "-a", live.state.dashboard]
    said = subprocess.run(command, env=live.environment, capture_output=True, text=True).stdout
    assert "starter-upscaler" in said and str(missing) in said, said
    assert opened(painted(client)).size == (256, 256)
    for _ in range(10):  # it is not tried again and again
        assert live.deployments()["starter-upscaler"]["replicas"] == []
        time.sleep(1)


def test_a_changed_replica_count_reaches_one_deployment(live: Live, document: dict[str, Any], tmp_path: Path) -> None:
    before = live.pids()
    espeak = entry(document, "espeak")
    espeak.pop("autoscaling_config", None)
    espeak["num_replicas"] = 2
    deploy(live, document, tmp_path)
    until(lambda: len(live.pids()["espeak"]) == 2, 60)
    after = live.pids()
    assert before["espeak"] < after["espeak"]
    assert {name: pids for name, pids in after.items() if name != "espeak"} == {
        name: pids for name, pids in before.items() if name != "espeak"
    }


@pytest.mark.slow
def test_serve_run_needs_nothing_of_ours(tmp_path: Path) -> None:
    """`serve run` with the profile in a Ray of its own: the same service, and a key kept for its owner only."""
    port = free_ports(1).start
    document = profile_document()
    document["http_options"]["port"] = port
    application = document["applications"][0]
    light = {"espeak", "opencv"}
    application["args"]["models"] = [model for model in application["args"]["models"] if model["name"] in light]
    application["deployments"] = [item for item in application["deployments"] if item["name"] in {*light, "gateway"}]
    path = tmp_path / "serve_config.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    home = tmp_path / "home"
    environment = {
        **os.environ,
        "MEDLEY_HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_TMPDIR": f"/tmp/serve-run-{port}",
        "RAY_ADDRESS": "local",
        "PYTHONPATH": os.getcwd(),
    }
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen([SERVE, "run", str(path)], env=environment, stdout=output, stderr=output)
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: process.poll() is not None or httpx.get(f"{url}/ready", timeout=5).status_code == 200, 120)
            assert process.poll() is None, log.read_text()
            key_file = home / "api_key"
            assert key_file.stat().st_mode & 0o777 == 0o600
            headers = {"authorization": f"Bearer {key_file.read_text().strip()}"}
            answer = httpx.post(f"{url}/api/v1/graphs/speech", json={"text": "hello"}, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text
            assert key_file.read_text().strip() not in log.read_text()
        finally:
            process.terminate()
            process.wait(60)


def test_status_is_told_to_programs(live: Live) -> None:
    ran = live.medley("status", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    status = json.loads(ran.stdout)
    assert status["running"] and status["url"] == live.url
    assert {row["status"] for row in status["deployments"]} == {"HEALTHY"}
