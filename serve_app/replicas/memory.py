"""Freed memory, returned to the GPU and to the operating system."""

import ctypes
import gc
import sys


def give_back() -> None:
    """Collect garbage, then return free memory: torch's to the GPU, glibc's to the operating system.

    Both keep freed memory for later use otherwise, so a process would stay at its largest size. Serve hides the objects
    that a replica has at its start from the garbage collector (`gc.freeze`), among them its first weights; this
    function collects those too. It may take some tenths of a second: call it in a thread.
    """
    hidden = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    if hidden:
        gc.freeze()
    torch = sys.modules.get("torch")  # not imported here: a process that never imported torch has none of its memory
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim is not None:
            trim(0)
