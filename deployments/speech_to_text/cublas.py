"""cuBLAS of the version that CTranslate2 is built for.

Torch brings a newer one, and CTranslate2 asks the system for its own by name, when it first reads
(https://github.com/OpenNMT/CTranslate2/issues/1933). What a process has loaded already is found by that name too, so
the one of the wheel `nvidia-cublas-cu12` is loaded here, ahead of that: no `LD_LIBRARY_PATH` to set.
"""

import ctypes
import importlib.util
from pathlib import Path

from ..errors import ModelUnavailable

LIBRARIES = ("libcublasLt.so.12", "libcublas.so.12")  # the second needs the first


def load_cublas() -> None:
    """Load it: the system's, or else the wheel's.

    Raises:
        ModelUnavailable: there is neither.
    """
    for name in LIBRARIES:
        places = [name, *map(str, _in_wheels(name))]
        if not any(_loaded(place) for place in places):
            raise ModelUnavailable(
                f"{name} is not installed here, which Whisper needs on a GPU; the extra `gpu` has it"
            )


def _in_wheels(name: str) -> list[Path]:
    nvidia = importlib.util.find_spec("nvidia")
    folders = nvidia.submodule_search_locations if nvidia and nvidia.submodule_search_locations else []
    return [path for folder in folders if (path := Path(folder) / "cublas" / "lib" / name).is_file()]


def _loaded(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
