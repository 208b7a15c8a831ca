"""What backends on torch share: where weights may lie, where they run, and what an engine's failure means."""

import os
import re
import traceback
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from .backend import GPU_MEMORY, Options
from .errors import ModelUnavailable, OutOfMemory
from .hub_errors import hub_reason

# The extra that installs a library which some weights need.
EXTRAS = {"torchvision": "gpu", "torchao": "quantization", "bitsandbytes": "quantization"}
GIB = 2**30
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# How torch, CUDA, cuBLAS, CTranslate2 and the system say that memory is full, where they have no class for it.
# cuDNN says that it finds no way to compute a convolution, where every way needs more than there is.
FULL = re.compile(
    r"out of memory|not enough memory|can(?:no|')t allocate memory|ALLOC_FAILED"
    r"|unable to find an engine|unable to find a valid cuDNN",
    re.IGNORECASE,
)


def is_local(path: str, named: str, pattern: str = "*.safetensors") -> bool:
    """Whether `path` is a folder with safetensors (`pattern` in it) on this machine; otherwise it is a hub name.

    Args:
        named: the weights as the profile names them, for the error.

    Raises:
        ModelUnavailable: it is no folder though it looks like one, or has no safetensors.
    """
    folder = Path(path)
    if not folder.is_dir():
        if path.startswith(("/", ".", "~")):
            raise ModelUnavailable(f"{named} is not a folder on this machine")
        return False
    if not list(folder.glob(pattern)):
        pickles = any(file.suffix in PICKLES for file in folder.glob(pattern.replace("*.safetensors", "*")))
        kind = "only pickled weights, which can run code" if pickles else "no weights"
        needed = "safetensors are" if pattern.endswith(".safetensors") else f"{pattern} is"
        raise ModelUnavailable(f"{named} has {kind}; {needed} needed")
    return True


def device_for(device: Literal["auto", "cpu", "cuda"], threads: int | None) -> str:
    """Torch's name of the device to run on, `auto` being the GPU if there is one; sets torch's threads if told.

    On a GPU the process is held to what the profile declares: beyond it, torch raises as if the GPU were full, and
    the neighbours keep theirs.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if chosen == "cuda" and (declared := os.environ.get(GPU_MEMORY)):
        # Of what the GPU has, not of its `gpu_gib`: what that leaves out is for the driver and CUDA's contexts.
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, float(declared) * GIB / total))
    return chosen


class TorchOptions(Options):
    """Where a network runs on torch, and in which numbers."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: float32 on a CPU, as the weights say on a GPU"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
    threads: int | None = Field(None, ge=1, le=256, description="Of torch, for the whole process")

    def placed(self) -> tuple[str, str]:
        """Torch's name of the device, see `device_for`, and the number type."""
        device = device_for(self.device, self.threads)
        return device, "float32" if self.dtype == "auto" and device == "cpu" else self.dtype  # halves are slow there


def whole(loaded: tuple[Any, dict[str, Any]], named: str) -> Any:
    """A network of `from_pretrained` with its `output_loading_info`: transformers would go on with random numbers
    in the place of weights that are not there.

    Raises:
        ModelUnavailable: some are not there; names one.
    """
    network, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ModelUnavailable(f"{named} lacks {len(missing)} of its weights, such as {missing[0]}")
    return network


def failure(error: BaseException, what: str, revision: str | None = None) -> ModelUnavailable:
    """The error to raise for one of an engine's: `OutOfMemory` where that is what it says.

    Args:
        revision: of weights that could not be loaded; where it is the hub's doing, the error names it.
    """
    import torch

    if said := hub_reason(error, revision):
        return ModelUnavailable(f"{what}: {said}")
    reason = (str(error) or type(error).__name__).strip().splitlines()[0]
    if isinstance(error, ImportError):
        for library in (name for name in EXTRAS if name in str(error).lower()):
            reason = f"{library} is not installed here; the extra `{EXTRAS[library]}` installs it"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or FULL.search(str(error)):
        # They hold the tensors of the failed call as long as the error lives.
        traceback.clear_frames(error.__traceback__)
        return OutOfMemory(f"{what}: {reason}")
    if isinstance(error, torch.AcceleratorError):
        _lost.append(reason)
    return ModelUnavailable(f"{what}: {reason}")


_lost = list[str]()  # why the GPU can no longer be used in this process: after such an error every later call fails


def check_gpu() -> None:
    """Raise `ModelUnavailable` if this process has lost its GPU; a new process has it again."""
    if _lost:
        raise ModelUnavailable(f"the GPU has failed in this process: {_lost[0]}")
