"""A replica and the GPU it is on, which it has in part."""

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

VISIBLE = "CUDA_VISIBLE_DEVICES"  # Ray sets it to the GPUs of a replica that has any
POLL_S = 0.2
LONG_S = 30.0


def hide_other_gpus() -> None:
    """For a replica whose model declares no part of a GPU: on a machine with GPUs it would find the first, and take
    what others were promised of it. One to which Ray gives a GPU keeps it. Before anything of CUDA is used."""
    given = ray.get_runtime_context().get_accelerator_ids().get("GPU") if ray.is_initialized() else None
    if not given:
        os.environ[VISIBLE] = ""


@asynccontextmanager
async def loading_alone() -> AsyncGenerator[None]:
    """Until the end no other replica of this machine loads onto the same GPU.

    vLLM looks at how much of the GPU is free before and after it loads. What a neighbour takes in between it counts as
    its own (0.33, `vllm/utils/mem_utils.py`), and then does not start, or has little room for conversations as long as
    it lives. Serve starts all replicas at once.
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
            fcntl.flock(file, fcntl.LOCK_UN)  # also where a process that was forked has the file too
            os.close(file)


async def _locked(file: int, gpu: str) -> None:
    loop = asyncio.get_running_loop()
    long = loop.time() + LONG_S
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if loop.time() > long:
                log.info("another model is being loaded onto GPU %s; this one waits for it", gpu)
                long = float("inf")
            await asyncio.sleep(POLL_S)
