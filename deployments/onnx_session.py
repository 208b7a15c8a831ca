"""Networks in ONNX on a CPU: their files, and ONNX Runtime's sessions."""

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backend import LOOK_S, weights_path
from .errors import ModelUnavailable

if TYPE_CHECKING:
    import numpy as np


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


def run(network: Any, given: "np.ndarray | dict[str, np.ndarray]", cancelled: threading.Event) -> "np.ndarray":
    """A network's first output for its inputs by name, or for its only input.

    Raises:
        CancelledError: the event was set, before the run or during it.
        ModelUnavailable: the network failed.
    """
    feed = given if isinstance(given, dict) else {network.get_inputs()[0].name: given}
    with _ended_by(cancelled) as options:
        try:
            return network.run(None, feed, options)[0]
        except (RuntimeError, MemoryError) as error:  # ONNX Runtime's errors are RuntimeErrors
            if cancelled.is_set():
                raise CancelledError from None
            raise ModelUnavailable(f"the network failed: {str(error).splitlines()[0][:300]}") from None


@contextmanager
def _ended_by(cancelled: threading.Event) -> Generator[Any]:
    """Options of a run that ends when the event is set."""
    import onnxruntime

    if cancelled.is_set():
        raise CancelledError
    options, over = onnxruntime.RunOptions(), threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_S):  # so that a run that is over waits for nothing
            if cancelled.is_set():
                options.terminate = True
                return

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield options
    finally:
        over.set()
        watching.join()
    if cancelled.is_set():
        raise CancelledError
