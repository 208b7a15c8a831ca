"""What an engine's failure means."""

import pytest

from deployments.engine import failure
from deployments.errors import ModelUnavailable, OutOfMemory


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: out of memory",
        "CUDA failed with error out of memory",  # CTranslate2
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes",
        "Cannot allocate memory",
        "GET was unable to find an engine to execute this computation",  # torch, of cuDNN's plans
    ],
)
def test_a_full_device_is_known_by_what_libraries_say_of_it(said: str) -> None:
    assert type(failure(RuntimeError(said), "the model failed")) is OutOfMemory


@pytest.mark.parametrize("said", ["CUDA error: an illegal memory access was encountered", "shape mismatch", ""])
def test_other_failures_are_not_for_want_of_memory(said: str) -> None:
    assert type(failure(RuntimeError(said), "the model failed")) is ModelUnavailable
