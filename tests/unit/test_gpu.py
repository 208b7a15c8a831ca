"""What a replica has of a GPU: it loads onto it alone, and without a part it sees none."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments import engine
from deployments.backend import GPU_MEMORY, Options
from deployments.capabilities import Depth
from deployments.engine import failure
from deployments.errors import ModelUnavailable, OutOfMemory
from serve_app.app import deployment
from serve_app.config.schema import ModelConfig, NodeConfig
from serve_app.replicas.gpu import VISIBLE, loading_alone
from serve_app.replicas.replica import replica

BESIDE = """
import asyncio
from serve_app.replicas.gpu import loading_alone

async def load():
    async with loading_alone():
        print("loading", flush=True)

asyncio.run(load())
"""
SOON_S = 30


@pytest.fixture
def a_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As of a replica that has a part of GPU 0."""
    monkeypatch.setenv(GPU_MEMORY, "2.0")
    monkeypatch.setenv(VISIBLE, "0")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def beside(gpu: str = "0") -> subprocess.Popen[str]:
    """Another replica that loads."""
    return subprocess.Popen(
        [sys.executable, "-c", BESIDE], stdout=subprocess.PIPE, text=True, env=os.environ | {VISIBLE: gpu}
    )


async def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return (await asyncio.to_thread(process.stdout.read)).strip()


async def test_replicas_on_one_card_load_one_after_the_other(a_part: None) -> None:
    async with loading_alone():
        same, another = beside(), beside("1")
        assert await asyncio.wait_for(said(another), SOON_S) == "loading"  # so there was time for the other one too
        assert same.poll() is None
    assert await asyncio.wait_for(said(same), SOON_S) == "loading"
    assert (same.wait(SOON_S), another.wait(SOON_S)) == (0, 0)


async def test_a_load_that_fails_lets_the_next_one_begin(a_part: None) -> None:
    with pytest.raises(ModelUnavailable):
        async with loading_alone():
            raise ModelUnavailable("no such weights")
    process = beside()
    assert await asyncio.wait_for(said(process), SOON_S) == "loading"
    process.wait(SOON_S)


async def test_without_a_part_of_a_card_nobody_waits(a_part: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async with loading_alone():
        monkeypatch.delenv(GPU_MEMORY)
        async with loading_alone():
            pass


HERE = [NodeConfig(name="here", gpus=1, gpu_gib=24)]


@pytest.mark.parametrize(
    ("model", "nodes", "sees"),
    [
        (ModelConfig(name="sam", backend="sam2"), HERE, False),
        (ModelConfig(name="sam", backend="sam2", gpu_memory_gib=2), HERE, True),
        (ModelConfig(name="writer", backend="vllm"), HERE, True),  # whole GPUs, unless it is said otherwise
        (ModelConfig(name="sam", backend="sam2"), [], True),  # where no GPUs are declared, any may be used
    ],
)
def test_a_model_without_a_part_sees_no_card(
    model: ModelConfig, nodes: list[NodeConfig], sees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, "3")
    made: Any = deployment(model, nodes).func_or_class
    made()
    assert os.environ[VISIBLE] == ("3" if sees else "")


class Estimator(Depth):
    Options = Options

    def check_health(self) -> None:
        pass


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engine, "_lost", [])
    yield


def test_a_replica_that_lost_its_card_is_not_healthy(healthy: None) -> None:
    import torch

    made = replica(Estimator)()
    for error in (torch.AcceleratorError("CUDA error: out of memory"), RuntimeError("shape mismatch")):
        failure(error, "the model failed")
        made.check_health()
    lost = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    assert not isinstance(failure(lost, "the model failed"), OutOfMemory)
    with pytest.raises(ModelUnavailable, match=r"the GPU has failed in this process: .* illegal memory access"):
        made.check_health()
