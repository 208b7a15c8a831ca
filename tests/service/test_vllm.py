"""A service whose language model is vLLM's, and `medley batch` beside it: Ray Data and vLLM in one environment.

The starter writer's weights, on vLLM's engine for CPUs or, by `make test-gpu`, on the one for GPUs.
"""

import importlib.util
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from .live import Live, profile_document, started, until
from .test_deploy import deploy

WISHES = [f"a small {colour} {shape}" for colour in ("red", "green", "blue") for shape in ("square", "fox")]
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


BRIEF = {"max_tokens": 3}
ALONE = {"ray_actor_options": {"num_cpus": 1}}
NOTHING: dict[str, Any] = {}
WRITER = {"weights": "starter/writer", "dtype": "float32", "enforce_eager": True}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A Medley with one model."""
    with running(tmp_path_factory) as live:
        yield live


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A Medley with a model that another shares the replicas of, one of them in memory at once."""
    with running(tmp_path_factory, {"name": "brief", "host": "writer", "user_config": WRITER | BRIEF}) as live:
        yield live


@contextmanager
def running(
    temporary: pytest.TempPathFactory,
    *more: dict[str, Any],
    deployment: Mapping[str, Any] = ALONE,
    options: Mapping[str, Any] = NOTHING,
    gpus: int | None = None,
) -> Iterator[Live]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed here: `make test-engines` runs this test")
    document = profile_document()
    application = document["applications"][0]
    application["args"]["models"] = [model | {"backend": "vllm"} for model in ({"name": "writer"}, *more)]
    application["deployments"] = [
        {"name": "gateway", "ray_actor_options": {"num_cpus": 0.2}},
        {"name": "writer", **deployment, "user_config": {**WRITER, **options}},
    ]
    path = temporary.mktemp("profile") / "profile.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with started(temporary.mktemp("home"), path, gpus) as live:
        yield live


GROUP = {
    "placement_group_bundles": [{"CPU": 0.5}, {"GPU": 1}, {"GPU": 1}],
    "ray_actor_options": {"num_cpus": 0.5, "num_gpus": 0},
}
DIVIDED = {"tensor_parallel_size": 2, "distributed_executor_backend": "ray"}
# vLLM's platform for CPUs does not say which of Ray's resources its processes take. This one does.
GPUS = """
from vllm.platforms.cpu import CpuPlatform


class GPUs(CpuPlatform):
    ray_device_key = "GPU"


def platform():
    return "medley_gpus.GPUs"
"""


def gpus_in_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have vLLM's engine for CPUs take what Ray believes to be GPUs."""
    (folder / "medley_gpus.py").write_text(GPUS)
    about = folder / "medley_gpus-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: medley-gpus\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[vllm.platform_plugins]\nmedley_gpus = medley_gpus:platform\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1" if len(os.sched_getaffinity(0)) > 1 else "0|0")


@pytest.fixture
def divided(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """A Medley whose model is divided among two GPUs of a placement group."""
    import torch

    if torch.cuda.device_count() == 1:
        pytest.skip("there is one GPU here: it takes two")
    gpus = None
    if not torch.cuda.is_available():
        gpus = 2
        gpus_in_name(tmp_path_factory.mktemp("platform"), monkeypatch)
    with running(tmp_path_factory, deployment=GROUP, options=DIVIDED, gpus=gpus) as live:
        yield live


def asked(prompt: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 48, **more}


def test_a_batch_of_prompts_is_answered_as_each_of_them_alone(service: Live, tmp_path: Path) -> None:
    import pyarrow.parquet

    wishes = [asked(f"Write a picture prompt for: {wish}") for wish in WISHES]
    requests = [*wishes, asked("Which colour?", json_schema=COLOUR), asked("Hello", max_tokenz=1)]
    prompts, output = tmp_path / "prompts.jsonl", tmp_path / "output"
    prompts.write_text("\n".join(json.dumps(request) for request in requests))
    ran = service.medley("batch", "chat", "--input", str(prompts), "--output", str(output))
    assert ran.returncode == 1, ran.stdout + ran.stderr  # for the last row
    table = pyarrow.parquet.read_table(output / "rows").to_pylist()
    texts = {row["row"]: row["text"] for row in table}
    assert sorted(texts) == list(range(1, len(requests)))
    with service.client() as client:
        for number, (wish, request) in enumerate(zip(WISHES, wishes, strict=True), 1):
            answer = client.post("/v1/chat/completions", json={"model": "writer", **request})
            assert answer.status_code == 200, answer.text
            assert texts[number] == answer.json()["choices"][0]["message"]["content"]
            assert wish.removeprefix("a ") in texts[number]
    assert json.loads(texts[len(wishes) + 1])["colour"] in ("red", "blue")
    (bad,) = [json.loads(line) for line in (output / "errors.jsonl").read_text().splitlines()]
    assert (bad["row"], bad["error"]["type"]) == (len(requests), "invalid-request")
    assert "Did you mean 'max_tokens'?" in bad["error"]["detail"]


def test_models_that_share_take_turns_and_the_engine_of_the_one_that_left_has_ended(shared: Live) -> None:
    (replica,) = shared.pids()["writer"]

    def engines() -> set[int]:
        below = psutil.Process(replica).children(recursive=True)
        alive = [process for process in below if process.status() != psutil.STATUS_ZOMBIE]  # those have let all go
        return {process.pid for process in alive if process.name().startswith("VLLM::EngineCor")}

    def said(model: str, stream: bool = False) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": "Tell a story."}], "temperature": 0}
        with shared.client() as client:
            answer = client.post("/v1/chat/completions", json={**body, "stream": stream})
        assert answer.status_code == 200, answer.text
        if not stream:
            return answer.json()["choices"][0]["message"]["content"]
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)

    seen = [engines()]
    long = said("writer")
    short = said("brief")
    seen.append(engines())
    assert len(short.split()) <= BRIEF["max_tokens"] < len(long.split())
    assert long.startswith(short.rstrip())
    assert said("writer", stream=True) == long
    seen.append(engines())
    assert said("brief", stream=True) == short
    seen.append(engines())
    assert [len(one) for one in seen] == [1, 1, 1, 1]  # never both, and each its own
    assert len(set.union(*seen)) == 4


def test_weights_divided_among_the_gpus_of_a_placement_group(divided: Live, tmp_path: Path) -> None:
    """They write, take other options beside the old engine, and come back when the replica is killed."""

    def said() -> str:
        with divided.client() as client:
            answer = client.post("/v1/chat/completions", json=asked("What can you do?"))
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["message"]["content"]

    def workers() -> set[int]:
        """Processes of the parts, which Ray starts: children of its raylet, not of the replica."""
        raylet = psutil.Process(min(divided.pids()["gateway"])).parent()
        assert raylet is not None
        return {process.pid for process in raylet.children() if process.name().startswith("ray::RayWorker")}

    before, first = said(), workers()
    assert "picture prompt" in before and len(first) == 2

    document = yaml.safe_load(Path(divided.state.profile).read_text())
    (entry,) = [entry for entry in document["applications"][0]["deployments"] if entry["name"] == "writer"]
    entry["user_config"]["enable_prefix_caching"] = False
    deploy(divided, document, tmp_path)
    until(lambda: len(now := workers()) == 2 and not now & first, 120)
    assert said() == before

    (replica,) = divided.pids()["writer"]
    second = workers()
    os.kill(replica, signal.SIGKILL)
    until(lambda: (pids := divided.pids()["writer"]) and replica not in pids, 120)
    divided.until_ready()
    assert said() == before
    assert len(now := workers()) == 2 and not now & second
