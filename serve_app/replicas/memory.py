"""Memory that nothing uses any more, given back to the GPU and to the system."""

import ctypes
import gc
import sys


def give_back() -> None:
    """Collect what is unreachable, then hand free memory back: torch's to its GPU, glibc's to the system.

    Both keep what was freed for their own next use otherwise, so a process would stay as large as it ever was. Serve
    hides from the collector (`gc.freeze`) what a replica has when it starts, its first weights among it; those too are
    collected. May take some tenths of a second: call it beside an event loop.
    """
    hidden = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    if hidden:
        gc.freeze()
    torch = sys.modules.get("torch")  # not imported for this: without it nothing of its is there
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim is not None:
            trim(0)
