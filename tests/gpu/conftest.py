"""A GPU to measure on, and the backends' tiny weights. Without a GPU, what asks for `cuda` is skipped."""

from typing import Any

import pytest

from ..backends.conftest import (  # noqa: F401  (fixtures)
    depth_weights,
    fastsam_weights,
    fresh,
    lm_weights,
    load,
    options_of,
    painter_weights,
    part_of_the_gpu,
    sam2_weights,
    voices_weights,
    whisper_weights,
    xtts_weights,
)


@pytest.fixture(scope="session")
def cuda() -> Any:
    """`torch.cuda`."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here: these tests are of a GPU's memory and speed")
    return torch.cuda
