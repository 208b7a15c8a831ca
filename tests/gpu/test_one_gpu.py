"""A Medley as its user starts it, with language, pictures and speech on one GPU, each in its declared part."""

import base64
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from deployments.engine import GIB

from ..backends.harness import need
from ..service.live import Live, profile_document, started
from ..service.test_shared import write_weights
from .gpu import CONTEXT_GIB, taken_gib

pytestmark = pytest.mark.usefixtures("cuda")
WRITER = 0.3  # of the GPU, which vLLM takes at once
DECLARED = {"painter": 2.0, "ears": 1.0, "left": 0.6, "cramped": 0.25}  # GiB
ON_IT = len(DECLARED) + 2  # processes: vLLM's engine is one beside its replica
CORES = 0.2  # of each, for Ray
SMALLEST_GIB = 15  # of a GPU of 16 GB
LARGEST = 2048  # pixels: a picture of that side takes more than the cramped painter has
WEIGHTS_GIB = 0.11  # of each of those that take turns


@pytest.fixture(scope="module")
def gpu_gib(cuda: Any) -> float:
    total = cuda.get_device_properties(0).total_memory / GIB
    if total < SMALLEST_GIB:
        pytest.skip(f"the GPU has {total:.0f} GiB: with CUDA's contexts, six processes need {SMALLEST_GIB}")
    return total


@pytest.fixture(scope="module")
def profile(
    tmp_path_factory: pytest.TempPathFactory, gpu_gib: float, painter_weights: Path, whisper_weights: Path
) -> Path:
    folder = tmp_path_factory.mktemp("one-GPU")
    left, right = (write_weights(folder / name, seed) for seed, name in enumerate(("left", "right")))
    options = {
        "writer": {"weights": "starter/writer", "dtype": "float32", "enforce_eager": True},
        "painter": {"weights": "starter/painter", "steps": 10},
        "ears": {"weights": str(whisper_weights)},
        "left": {"weights": str(left), "max_tokens": 8},
        "cramped": {"weights": str(painter_weights), "steps": 2, "max_side": LARGEST},
    }
    backends = {"painter": "diffusers", "ears": "faster_whisper", "left": "transformers", "cramped": "diffusers"}
    document = profile_document()
    application = document["applications"][0]
    application["args"] = {
        "nodes": [{"name": "here", "gpus": 1, "gpu_gib": round(0.9 * gpu_gib, 2)}],
        "models": [
            {"name": "writer", "backend": "vllm", "gpu_memory_gib": round(WRITER * gpu_gib, 2), "cpus": CORES},
            *(
                {"name": name, "backend": backends[name], "gpu_memory_gib": gib, "cpus": CORES}
                for name, gib in DECLARED.items()
            ),
            {
                "name": "right",
                "backend": "transformers",
                "host": "left",
                "user_config": options["left"] | {"weights": str(right)},
            },
            {"name": "espeak", "backend": "espeak"},
        ],
    }
    application["deployments"] = [{"name": name, "user_config": options[name]} for name in options]
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def empty_gib(cuda: Any) -> float:
    """Of the GPU that is taken while nothing of Medley runs."""
    return taken_gib(cuda)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, profile: Path, empty_gib: float) -> Iterator[Live]:
    need("vllm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:2:16:8")  # 8 MiB: a new thread's would look like weights left
        with started(tmp_path_factory.mktemp("home"), profile) as live:
            yield live


@pytest.fixture
def client(service: Live) -> Iterator[httpx.Client]:
    with service.client() as session:
        yield session


def said(client: httpx.Client, model: str) -> str:
    asked = {"model": model, "messages": [{"role": "user", "content": "What can you do?"}], "temperature": 0}
    answer = client.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def paint(client: httpx.Client, model: str, side: int) -> httpx.Response:
    asked = {"model": model, "prompt": "a red circle on a blue background", "size": f"{side}x{side}"}
    return client.post("/v1/images/generations", json=asked)


def painted(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"])))


def test_all_answer_and_take_no_more_than_their_parts(
    service: Live, client: httpx.Client, profile: Path, gpu_gib: float, empty_gib: float, cuda: Any
) -> None:
    plan = service.medley("plan", str(profile))
    assert plan.returncode == 0 and all(name in plan.stdout for name in DECLARED), plan.stdout + plan.stderr

    assert "picture prompt" in said(client, "writer")
    assert painted(paint(client, "painter", 64)).size == (64, 64)
    asked = {"model": "espeak", "voice": "en-us+f2", "input": "one two three"}
    spoken = client.post("/v1/audio/speech", json=asked)
    assert spoken.status_code == 200, spoken.text
    heard = client.post("/v1/audio/transcriptions", data={"model": "ears"}, files={"file": ("x", spoken.content)})
    assert heard.status_code == 200, heard.text  # its weights are random: what it hears is noise
    assert said(client, "left")

    taken = taken_gib(cuda) - empty_gib
    print(f"{taken:.2f} GiB of {gpu_gib:.1f} are taken")
    assert WRITER * gpu_gib * 0.9 < taken < WRITER * gpu_gib + sum(DECLARED.values()) + ON_IT * CONTEXT_GIB


def test_those_that_take_turns_leave_nothing_of_themselves(client: httpx.Client, cuda: Any) -> None:
    texts, taken = set[tuple[str, str]](), list[float]()
    for _ in range(4):
        texts.add((said(client, "left"), said(client, "right")))
        taken.append(taken_gib(cuda))
    print("GiB taken after each turn:", [round(one, 3) for one in taken])
    ((left, right),) = texts
    assert left != right
    assert max(taken[1:]) - taken[0] < WEIGHTS_GIB / 2


def test_what_does_not_fit_fails_alone(client: httpx.Client) -> None:
    """A painter without room for a picture says so, and paints the next one; its neighbour does not notice."""
    alone, ended = said(client, "writer"), threading.Event()

    def beside() -> set[str]:
        texts = set[str]()
        while not ended.is_set():
            texts.add(said(client, "writer"))
        return texts

    with ThreadPoolExecutor(1) as thread:
        neighbour = thread.submit(beside)
        try:
            refused = paint(client, "cramped", LARGEST)
            assert refused.status_code == 503 and "out-of-memory" in refused.text, refused.text
            assert painted(paint(client, "cramped", 64)).size == (64, 64)
        finally:
            ended.set()
        assert neighbour.result() == {alone}
