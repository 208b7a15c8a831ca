"""The bundle, run: `python run.py`, on a machine with Python 3.12, torch and transformers, and no network.

It unpacks the wheels beside it into a temporary folder, takes Medley from `medley.zip` or from the repository that it
lies in, and runs its tests within five minutes. `results.json` goes to `$OUT`, or beside this file.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = (3, 12)  # the wheels' own
THERE = ("torch", "transformers")


def main() -> int:
    begun = time.time()
    if sys.version_info[:2] != PYTHON:
        sys.exit(f"this is Python {sys.version.split()[0]}; the wheels are for Python {PYTHON[0]}.{PYTHON[1]}")
    if missing := [name for name in THERE if importlib.util.find_spec(name) is None]:
        sys.exit(f"not installed here: {', '.join(missing)}; the bundle leaves them out for their size")
    with tempfile.TemporaryDirectory(prefix="medley-") as folder:
        packages, medley = Path(folder, "packages"), Path(folder, "medley")
        for wheel in sorted((HERE / "wheels").glob("*.whl")):
            unpack(wheel, packages)  # installing does no more for these: they are files of one folder
        if (HERE / "medley.zip").exists():
            unpack(HERE / "medley.zip", medley)
        else:
            medley = repository()
        paths = [str(packages), str(medley), *filter(None, [os.environ.get("PYTHONPATH")])]
        told = {
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            "MEDLEY_BUNDLE_BEGUN": str(begun),
            "MEDLEY_BUNDLE_RESULTS": str(results() / "results.json"),
        }
        return subprocess.run([sys.executable, "-m", "tests.gpu.proof"], cwd=medley, env=os.environ | told).returncode


def unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)


def repository() -> Path:
    """The repository that this folder lies in."""
    for folder in HERE.parents:
        if (folder / "tests/gpu/proof.py").exists():
            return folder
    sys.exit(
        "there is no medley.zip beside run.py, and it lies in no copy of the repository; `make gpu-bundle` packs it"
    )


def results() -> Path:
    """A folder for the results that can be written to."""
    asked = Path(os.environ.get("OUT") or HERE)
    return asked if os.access(asked, os.W_OK) else Path(tempfile.mkdtemp(prefix="medley-results-"))


if __name__ == "__main__":
    sys.exit(main())
