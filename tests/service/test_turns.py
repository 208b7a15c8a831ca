"""Two models on a GPU that holds one of them: each has it in turn. Ray is told of the GPU; the models are real."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from .live import Live, profile_document, started

NODE = {"name": "here", "gpus": 1, "gpu_gib": 7.5}
NEEDED = 7  # GiB, as in configs/gpu-8gb.yaml
ASLEEP_SOON = {
    "min_replicas": 0,
    "max_replicas": 1,
    "target_ongoing_requests": 4,
    "downscale_delay_s": 1,
    "look_back_period_s": 2,
    "metrics_interval_s": 1,
}


@pytest.fixture
def one_card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    document = profile_document()
    application = document["applications"][0]
    application["args"] = {
        "nodes": [NODE],
        "models": [
            {"name": "writer", "backend": "transformers", "gpu_memory_gib": NEEDED, "cpus": 0.3},
            {"name": "painter", "backend": "diffusers", "gpu_memory_gib": NEEDED, "cpus": 0.3},
        ],
    }
    weights = {"writer": {"weights": "starter/writer"}, "painter": {"weights": "starter/painter", "steps": 2}}
    application["deployments"] = [
        {"name": name, "autoscaling_config": ASLEEP_SOON, "user_config": options} for name, options in weights.items()
    ]
    path = tmp_path_factory.mktemp("profile") / "profile.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with started(tmp_path_factory.mktemp("home"), path, gpus=1) as live:
        yield live


def write(client: httpx.Client) -> httpx.Response:
    message = {"role": "user", "content": "What can you do?"}
    return client.post("/v1/chat/completions", json={"model": "writer", "messages": [message], "max_tokens": 5})


def paint(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/images/generations", json={"model": "painter", "prompt": "a red circle"})


@pytest.mark.slow
def test_they_take_turns_and_are_never_on_it_together(one_card: Live) -> None:
    plan = one_card.medley("plan", str(Path(one_card.state.profile)))
    assert plan.returncode == 0 and "in turns with others" in plan.stdout, plan.stdout + plan.stderr
    ended, together = threading.Event(), list[set[str]]()

    def look() -> None:
        while not ended.wait(0.2):
            together.append({name for name, pids in one_card.pids().items() if pids and name in ("writer", "painter")})

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with one_card.client() as client:
            for ask in (write, paint, write):
                answer = ask(client)
                assert answer.status_code == 200, answer.text
    finally:
        ended.set()
        looking.join()
    assert {frozenset(names) for names in together} == {frozenset(), frozenset({"writer"}), frozenset({"painter"})}
