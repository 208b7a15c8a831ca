"""A GPU is shared: each keeps to its part of it, gives back what it does not use, and survives asking too much."""

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.backend import GPU_MEMORY
from deployments.engine import GIB
from deployments.errors import OutOfMemory

from ..backends.harness import LOADED, need, need_module
from ..backends.weights import write_whisper
from .gpu import CONTEXT_GIB, ELSEWHERE, taken_gib

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("cuda")]
# Backends whose memory of a GPU torch counts; the test's cutout has no network.
ON_A_CARD = [name for name in LOADED if name not in ("cutout", "faster_whisper", "pocketsphinx")]
GREEDY = """
import torch
from deployments.engine import device_for, failure

device = device_for("auto", None)
total = torch.cuda.get_device_properties(0).total_memory
within = torch.zeros(int(0.02 * total), dtype=torch.uint8, device=device)
print(device, int(within.sum()))
try:
    torch.zeros(int(0.1 * total), dtype=torch.uint8, device=device)
except RuntimeError as error:
    print(type(failure(error, "the model failed")).__name__)
"""
SMALLEST_RESERVE = 2 * 2**20  # bytes: torch takes memory from the GPU in blocks of so many
SAVED = 2**19  # bytes, of 11 MB: the starter painter has 1.5 million weights in layers that are quantised
WHISPER_GIB = 0.6  # at least, of six layers of the large Whisper's size in float32
ROOM = 128 * 2**20  # bytes: enough for a picture of 64 x 64, not for one of 2048 x 2048


def greedy(part: float) -> list[str]:
    """What a process says that takes 2 % of the GPU, then 10 %, when this part of it is declared."""
    import torch

    declared = str(part * torch.cuda.get_device_properties(0).total_memory / GIB)
    done = subprocess.run(
        [sys.executable, "-c", GREEDY],
        env=os.environ | {GPU_MEMORY: declared},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


async def test_a_process_is_held_to_its_share_and_its_neighbour_goes_on(cuda: Any) -> None:
    import torch

    mine = torch.ones(1000, device="cuda")
    assert greedy(0.05) == ["cuda", "0", "OutOfMemory"]
    assert greedy(0.2) == ["cuda", "0"]
    assert mine.sum().item() == 1000


def _settled(cuda: Any) -> None:
    import torch

    gc.collect()
    cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()  # some MiB for each thread that has multiplied, kept for good
    cuda.empty_cache()


@pytest.mark.parametrize("name", ON_A_CARD)
async def test_unloading_gives_the_memory_back(name: str, fresh: Any, cuda: Any) -> None:
    backend = await asyncio.to_thread(fresh, name)  # what libraries keep for good, they have from here on
    del backend
    _settled(cuda)
    allocated, reserved = cuda.memory_allocated(), cuda.memory_reserved()
    backend = await asyncio.to_thread(fresh, name)
    assert cuda.memory_allocated() > allocated
    del backend
    _settled(cuda)
    assert cuda.memory_reserved() <= reserved + SMALLEST_RESERVE


async def until_free(cuda: Any, gib: float) -> None:
    """Wait until no more of the GPU is taken: processes and engines need a moment to end."""
    async with asyncio.timeout(30):
        while taken_gib(cuda) > gib:
            await asyncio.sleep(0.2)


async def test_vllm_takes_what_is_declared_and_gives_it_back(
    fresh: Any, cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("vllm")
    declared = 0.2 * cuda.get_device_properties(0).total_memory / GIB
    monkeypatch.setenv(GPU_MEMORY, str(declared))
    before = taken_gib(cuda)
    writer = await asyncio.to_thread(fresh, "vllm")
    assert 0.9 * declared < taken_gib(cuda) - before < declared + CONTEXT_GIB
    await asyncio.to_thread(writer._engine.close)
    await until_free(cuda, before + 0.1)


async def test_whisper_gives_its_memory_back(fresh: Any, cuda: Any, tmp_path: Path) -> None:
    """CTranslate2's own memory, which torch does not see."""
    pytest.importorskip("ctranslate2", reason=f"ctranslate2 is not installed here: {ELSEWHERE}")
    weights = await asyncio.to_thread(write_whisper, tmp_path, 1280, 6, 20)
    ears = await asyncio.to_thread(fresh, "faster_whisper", weights=str(weights), precision="float32")
    del ears
    gc.collect()
    before = taken_gib(cuda)  # with what CUDA and cuBLAS keep for good
    ears = await asyncio.to_thread(fresh, "faster_whisper", weights=str(weights), precision="float32")
    assert taken_gib(cuda) > before + WHISPER_GIB
    del ears
    gc.collect()
    await until_free(cuda, before + WHISPER_GIB / 2)


@pytest.mark.parametrize(
    "saving",
    [
        {"savings": ["model_offload"]},
        {"quantization": "torchao_int8"},
        {"quantization": "bitsandbytes_int8"},
        {"quantization": "bitsandbytes_nf4"},
    ],
    ids=lambda saving: str(*saving.values()),
)
async def test_a_saving_leaves_less_on_the_card_between_calls(saving: dict[str, Any], fresh: Any, cuda: Any) -> None:
    async def resting(**options: Any) -> int:
        _settled(cuda)
        before = cuda.memory_allocated()
        painter = await asyncio.to_thread(
            fresh, "diffusers", weights="starter/painter", dtype="auto", steps=2, **options
        )
        await painter.generate("a red circle on a blue background", seed=1)
        _settled(cuda)
        taken = cuda.memory_allocated() - before
        del painter
        return taken

    for library in ("torchao", "bitsandbytes"):
        if saving.get("quantization", "").startswith(library):
            need_module(library)
    assert await resting(**saving) < await resting() - SAVED


@pytest.fixture
def little_room(cuda: Any) -> Iterator[Any]:
    """`little_room()`: from then on this process gets `ROOM` more of the GPU and no more."""

    def limit() -> None:
        _settled(cuda)
        total = cuda.get_device_properties(0).total_memory
        cuda.set_per_process_memory_fraction((cuda.memory_reserved() + ROOM) / total)

    yield limit
    cuda.set_per_process_memory_fraction(1.0)


async def test_a_request_too_large_for_the_card_is_refused_and_the_next_smaller_one_answered(
    fresh: Any, little_room: Any
) -> None:
    painter = await asyncio.to_thread(fresh, "diffusers", max_side=2048)
    await painter.generate("a dog", width=64, height=64, seed=1)
    little_room()
    with pytest.raises(OutOfMemory) as raised:
        await painter.generate("a dog", width=2048, height=2048, seed=1)
    assert (raised.value.status, raised.value.type) == (503, "out-of-memory")
    assert (await painter.generate("a dog", width=64, height=64, seed=1)).media_type == "image/png"
