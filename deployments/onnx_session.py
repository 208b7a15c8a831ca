"""Networks in ONNX on a CPU: their files, and ONNX Runtime's sessions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .backend import weights_path
from .errors import ModelUnavailable


def folder_with(weights: str, names: Sequence[str]) -> Path:
    """The folder of weights, which has these files.

    Raises:
        ModelUnavailable: it lacks one.
    """
    folder = Path(weights_path(weights))
    if lacking := [name for name in names if not (folder / name).is_file()]:
        raise ModelUnavailable(
            f"{weights} has no {lacking[0]} on this machine; `medley models pull` fetches the profile's weights"
        )
    return folder


def session(file: Path, threads: int) -> Any:
    """A network, ready to run; many threads may run it, each with `threads` of its own. Raises what ONNX Runtime does,
    which has a class for each of its codes."""
    import onnxruntime

    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads, how.inter_op_num_threads = threads, 1
    how.log_severity_level = 4  # its errors are raised too
    return onnxruntime.InferenceSession(str(file), how, providers=["CPUExecutionProvider"])
