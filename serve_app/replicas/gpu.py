"""The GPU of a replica, which it may share with other replicas."""

# Ray's functions are typed in part only.
# pyright: reportUnknownMemberType=false

import asyncio
import fcntl
import logging
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import ray

from deployments.backend import GPU_MEMORY

log = logging.getLogger("ray.serve")

VISIBLE = "CUDA_VISIBLE_DEVICES"  # Ray sets it to the replica's GPUs
POLL_S = 0.2
LOG_AFTER_S = 30.0  # of waiting for another replica's load


def hide_other_gpus() -> None:
    """Hide the machine's GPUs from a replica to which Ray assigned none: it would use the memory of the first GPU,
    which is reserved for other replicas. Call it before CUDA is used."""
    assigned = ray.get_runtime_context().get_accelerator_ids().get("GPU") if ray.is_initialized() else None
    if not assigned:
        os.environ[VISIBLE] = ""


@asynccontextmanager
async def loading_alone() -> AsyncGenerator[None]:
    """A lock under which no other replica of this machine loads onto the same GPU.

    vLLM measures the GPU's free memory before and after it loads. Memory that a neighbour takes in between counts as
    its own (0.33, `vllm/utils/mem_utils.py`), so it does not start, or has little room for conversations as long as it
    lives. Serve starts all replicas at once.
    """
    if not os.environ.get(GPU_MEMORY):
        yield
        return
    files = list[int]()
    try:
        for gpu in sorted(os.environ.get(VISIBLE, "0").split(",")):
            path = Path(tempfile.gettempdir()) / f"medley-{os.getuid()}-GPU-{gpu.replace('/', '_')}.lock"
            files.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            await _locked(files[-1], gpu)
        yield
    finally:
        for file in files:
            fcntl.flock(file, fcntl.LOCK_UN)  # also if a forked process has the file open too
            os.close(file)


async def _locked(file: int, gpu: str) -> None:
    loop = asyncio.get_running_loop()
    log_at = loop.time() + LOG_AFTER_S
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if loop.time() > log_at:
                log.info("waiting for another model to finish loading onto GPU %s", gpu)
                log_at = float("inf")
            await asyncio.sleep(POLL_S)
