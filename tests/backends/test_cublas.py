"""CTranslate2 is built for another CUDA than torch: its cuBLAS is found without a variable that the user has to set."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.errors import ModelUnavailable
from deployments.speech_to_text import cublas

# A library that this machine has for certain, in a wheel's folder, under a name that no other has.
FROM_A_WHEEL = """
import sys
sys.path.insert(0, sys.argv[1])
from deployments.speech_to_text import cublas
cublas.LIBRARIES = (sys.argv[2],)
cublas.load_cublas()
print(open("/proc/self/maps").read())
"""
BY_NAME = """
import ctypes
from deployments.speech_to_text import cublas
cublas.load_cublas()
ctypes.CDLL(cublas.LIBRARIES[1])
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True)


def engines_library(name: str) -> Path:
    files = importlib.metadata.files("ctranslate2") or []
    return next(Path(str(file.locate())) for file in files if file.name.startswith(name))


def test_it_is_what_the_engine_looks_for() -> None:
    assert cublas.LIBRARIES[1].encode() in engines_library("libctranslate2").read_bytes()


def test_that_of_a_wheel_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    library = folder / "libmedleys-own.so.12"
    shutil.copy(engines_library("libgomp"), library)
    done = run(FROM_A_WHEEL, str(tmp_path), library.name)
    assert str(library) in done.stdout, done.stderr


def test_once_it_is_loaded_it_is_found_by_its_name() -> None:
    if not (importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.cublas")):
        pytest.skip("the extra `gpu` is not installed here: `make test-engines` runs this test")
    assert run(BY_NAME).returncode == 0


def test_without_any_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublas, "LIBRARIES", ("libmedleys-own.so.12",))
    with pytest.raises(ModelUnavailable, match=r"libmedleys-own.so.12 is not installed here.*extra `gpu`"):
        cublas.load_cublas()
