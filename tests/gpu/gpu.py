"""How full the GPU is, whoever fills it."""

from typing import Any

CONTEXT_GIB = 1.0  # the most that CUDA keeps for each process beside what it asks for, with its libraries' code

ELSEWHERE = "`make test-gpu` runs this test"


def taken_gib(cuda: Any) -> float:
    """Of all processes together."""
    free, total = cuda.mem_get_info()
    return (total - free) / 2**30
