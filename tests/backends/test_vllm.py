"""What only the vLLM backend promises: its processes, its memory, what its engine is started with."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deployments import BACKENDS
from deployments.backend import GPU_MEMORY
from deployments.capabilities import Message
from deployments.errors import ModelUnavailable, OutOfMemory
from deployments.language.vllm import VLLM
from deployments.language.vllm_engine import declared_part, engine_arguments
from deployments.language.vllm_log import first_cause

from .harness import need, processes, watch
from .weights import write_language_model

HI = [Message(role="user", content="hi")]
KILLED = """
import asyncio, os, signal, sys
from deployments import BACKENDS
model = BACKENDS["vllm"]()
asyncio.run(model.reconfigure(model.Options(weights=sys.argv[1], dtype="float32", enforce_eager=True)))
print(*(process.pid for process in model._engine.llm.engine_core.resources.engine_manager.processes), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("options", "declared", "fraction"),
    [
        ({}, None, None),  # vLLM's own
        ({}, "24.0", 0.92),
        ({}, "12.0", 0.5),
        ({"gpu_memory_utilization": 0.3}, "12.0", 0.3),
    ],
)
def test_the_declared_memory_of_a_gpu_is_what_the_engine_takes(
    options: dict[str, Any], declared: str | None, fraction: float | None
) -> None:
    arguments = declared_part(declared, lambda: 24 * 2**30) | engine_arguments(VLLM.Options(weights="x", **options))
    assert arguments.get("gpu_memory_utilization") == fraction


@pytest.mark.parametrize(
    ("options", "executor"),
    [
        ({}, "uni"),
        ({"distributed_executor_backend": "ray"}, "uni"),
        ({"tensor_parallel_size": 2}, "mp"),
        ({"tensor_parallel_size": 2, "distributed_executor_backend": "ray"}, "ray"),
    ],
)
def test_who_starts_the_processes_of_divided_weights(options: dict[str, Any], executor: str) -> None:
    assert engine_arguments(VLLM.Options(weights="x", **options))["distributed_executor_backend"] == executor


async def test_weights_divided_among_two_processes_write_the_same(
    model: Any, options_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil  # vLLM brings it
    import torch

    if torch.cuda.device_count() == 1:
        pytest.skip("there is one GPU here: it takes two")
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1" if len(os.sched_getaffinity(0)) > 1 else "0|0")

    divided: Any = VLLM()
    await divided.reconfigure(options_of("vllm", tensor_parallel_size=2))
    try:
        (engine,) = processes(divided._engine)
        assert len(psutil.Process(engine.pid).children()) == 2
        asked = [Message(role="user", content="What can you do?")]
        alone = await model.chat(asked, temperature=0, max_tokens=20)
        assert await divided.chat(asked, temperature=0, max_tokens=20) == alone
    finally:
        await asyncio.to_thread(divided._engine.close)


def test_the_cause_is_the_first_error_in_the_log(tmp_path: Path) -> None:
    assert first_cause(tmp_path) is None
    lines = ["WorkerProc failed", "Traceback:", "  x.py", "torch.OutOfMemoryError: CUDA out of memory", "Exception: so"]
    (tmp_path / "errors.log").write_text("\n".join(lines))
    assert first_cause(tmp_path) == "CUDA out of memory"


@pytest.fixture
def model(load: Any) -> Any:
    return load("vllm")


@pytest.mark.asyncio
async def test_other_defaults_need_no_other_engine(model: Any, options_of: Any) -> None:
    engine = model._engine
    await model.reconfigure(options_of("vllm", max_tokens=7))
    assert (await model.chat(HI, temperature=0)).completion_tokens == 7
    await model.reconfigure(options_of("vllm"))
    assert (await model.chat(HI, temperature=0)).completion_tokens == 20
    assert model._engine is engine


@pytest.mark.asyncio
async def test_short_replies_join_the_batch_of_a_long_one_and_leave_it_first(model: Any) -> None:
    long = asyncio.create_task(model.chat(HI, max_tokens=3500, temperature=0))
    short = await asyncio.gather(*(model.chat(HI, max_tokens=5, temperature=0) for _ in range(8)))
    assert all(reply == short[0] for reply in short)
    assert not long.done()
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long


@pytest.mark.asyncio
async def test_a_caller_who_leaves_while_the_request_goes_in_leaves_nothing_behind(model: Any) -> None:
    for steps in range(12):  # of the event loop, so that it is cancelled at each of the first points where it waits
        task = asyncio.create_task(model.chat(HI, max_tokens=3500, temperature=0))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert model._engine.llm.get_num_unfinished_requests() == 0
    async with asyncio.timeout(1):
        while not await model._engine.llm.reset_prefix_cache():  # refused as long as the engine works on a request
            await asyncio.sleep(0.02)


@pytest.mark.asyncio
async def test_a_ray_dataset_of_prompts_is_answered_in_the_process_that_has_the_engine(
    model: Any, ray_of_its_own: None, tmp_path: Path
) -> None:
    """Both bring numpy, pandas and Arrow: what each needs of them has to go together."""
    import pandas
    import ray.data

    prompts = [f"prompt {number}" for number in range(8)]

    async def answers(texts: list[str]) -> list[str]:
        asked = [model.chat([Message(role="user", content=text)], temperature=0, max_tokens=5) for text in texts]
        return [reply.text for reply in await asyncio.gather(*asked)]

    tables = list[pandas.DataFrame]()
    dataset = ray.data.from_items([{"prompt": prompt} for prompt in prompts])
    for batch in dataset.iter_batches(batch_size=3, batch_format="pandas"):
        tables.append(pandas.DataFrame(batch).assign(reply=await answers(batch["prompt"].tolist())))
    ray.data.from_pandas(tables).write_parquet(str(tmp_path))
    rows = ray.data.read_parquet(str(tmp_path)).map(lambda row: row | {"length": len(row["reply"])}).take_all()
    assert {row["prompt"]: row["reply"] for row in rows} == dict(zip(prompts, await answers(prompts), strict=True))
    assert all(row["length"] == len(row["reply"]) > 0 for row in rows)


def test_an_engine_that_dies_makes_the_replica_unhealthy_and_fails_its_calls(
    fresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh("vllm")

    async def call_and_kill() -> None:
        seen = watch(model, monkeypatch)
        call = asyncio.create_task(model.chat(HI, max_tokens=3500, temperature=0))
        assert await asyncio.to_thread(seen.started.wait, 10)
        os.kill(processes(model._engine)[0].pid, signal.SIGKILL)
        with pytest.raises(ModelUnavailable, match="died"):
            await asyncio.wait_for(call, 20)

    asyncio.run(call_and_kill())
    with pytest.raises(ModelUnavailable, match="died"):
        model.check_health()
    with pytest.raises(ModelUnavailable, match="died"):
        asyncio.run(model.chat(HI))


def test_a_replica_that_is_killed_leaves_no_engine_behind(lm_weights: Path) -> None:
    need("vllm")
    done = subprocess.run([sys.executable, "-c", KILLED, str(lm_weights)], stdout=subprocess.PIPE, timeout=200)
    assert done.returncode == -signal.SIGKILL
    engines = [int(word) for word in done.stdout.split()]
    assert engines
    until = time.monotonic() + 10
    while any(running(pid) for pid in engines):
        assert time.monotonic() < until
        time.sleep(0.1)


def running(pid: int) -> bool:
    """Whether there is such a process, one that has ended and waits for its parent's notice left out."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_the_build_for_gpus_says_so_where_there_is_no_gpu(options_of: Any) -> None:
    need("vllm")
    from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]

    if not current_platform.is_unspecified():
        pytest.skip("vLLM can run here")
    with pytest.raises(ModelUnavailable, match="build for GPUs"):
        await VLLM().reconfigure(options_of("vllm"))


class TestLoading:
    """Each reason for which vLLM's engine does not start is told."""

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        need("vllm")

    def test_pickled_weights_are_refused(self, options_of: Any, tmp_path: Path) -> None:
        (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
        with pytest.raises(ModelUnavailable, match="pickled"):
            self._load(options_of, weights=str(tmp_path))

    def test_damaged_weights_are_refused(self, options_of: Any, tmp_path: Path) -> None:
        weights = write_language_model(tmp_path) / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
        with pytest.raises(ModelUnavailable, match=r"cannot be loaded: .*(header|safetensors)"):
            self._load(options_of, weights=str(tmp_path))

    def test_incomplete_weights_are_refused(self, options_of: Any, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = write_language_model(tmp_path) / "model.safetensors"
        tensors = load_file(weights)
        del tensors["model.layers.1.input_layernorm.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
        with pytest.raises(ModelUnavailable, match=r"cannot be loaded: .*not initialized"):
            self._load(options_of, weights=str(tmp_path))

    def test_a_longer_context_than_the_weights_have_is_refused(self, options_of: Any) -> None:
        with pytest.raises(ModelUnavailable, match="max_model_len"):
            self._load(options_of, max_model_len=100_000)

    def test_too_little_memory_is_out_of_memory(self, options_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "100000")  # GiB, without a GPU
        monkeypatch.setenv(GPU_MEMORY, "0.05")  # GiB, on one
        with pytest.raises(OutOfMemory, match="memory"):
            self._load(options_of)

    def _load(self, options_of: Any, **changes: Any) -> None:
        asyncio.run(BACKENDS["vllm"]().reconfigure(options_of("vllm", **changes)))
