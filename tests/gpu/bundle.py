"""The bundle, gathered: `python -m tests.gpu.bundle FOLDER`, what `make gpu-bundle` does.

A folder for a machine with a GPU and no network: `wheels/`, `medley.zip`, and `run.py`, which needs nothing else.
"""

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINS = "configs/gpu-engines.txt"
MOST_BYTES = 55_000_000
PYTHON = "3.12"
GLIBC = range(39, 4, -1)  # minor versions that a wheel may be built for: pip asks for each by itself
# What the tests import beside torch, transformers and what these need themselves. PyAV (36 MB) and OpenCV (60 MB) are
# left out: of the groups only MMS would use one, to encode what it says.
WHEELS = (
    "diffusers",
    "importlib-metadata",
    "zipp",
    "requests",
    "urllib3",
    "charset-normalizer",
    "pillow",
    "accelerate",
    "peft",
    "psutil",
    "torchao",
    "llguidance",
    "pydantic",  # transformers' command line needs it in some versions only
    "pydantic-core",
    "annotated-types",
    "typing-inspection",
    "typing-extensions",
    "pytest",
    "pluggy",
    "iniconfig",
    "pytest-asyncio",
    "pytest-timeout",
    "jsonschema",
    "jsonschema-specifications",
    "referencing",
    "rpds-py",
    "attrs",
    "uvicorn",  # the contracts' harness serves its providers with it
    "standardwebhooks",
)
# Parts of the repository, without the weights and programs that no group uses.
PACKED = ("deployments", "tests/__init__.py", "tests/conftest.py", "tests/backends", "tests/gpu", "pyproject.toml")
LEFT_OUT = tuple(f"deployments/starter/{name}/weights" for name in ("writer", "ears", "voices"))


class BundleError(Exception):
    """The bundle cannot be made as asked."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheels-only", action="store_true", help="for a machine that has a copy of the repository")
    given = parser.parse_args()
    try:
        gather(given.folder, given.wheels_only)
    except BundleError as error:
        sys.exit(str(error))


def gather(folder: Path, wheels_only: bool) -> None:
    """Make the bundle in `folder`, anew.

    Raises:
        BundleError: a wheel cannot be had, the bundle is too large, or the folder has something else in it.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "wheels").is_dir():
        raise BundleError(f"{folder} is there and is no bundle, so it is left alone; name a folder that is not there")
    shutil.rmtree(folder, ignore_errors=True)
    download(pinned((ROOT / PINS).read_text()), folder / "wheels")
    shutil.copy(Path(__file__).with_name("run.py"), folder)
    if not wheels_only:
        pack(folder / "medley.zip")
    sizes = sizes_of(folder)
    check(sizes)
    print(f"{folder}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB of at most {MOST_BYTES / 1e6:.0f}")


def pinned(pins: str) -> list[str]:
    """The wheels as pip is asked for them, each in the version that these lines pin.

    Raises:
        BundleError: one is not among them.
    """
    versions = dict(re.findall(r"^([\w.-]+)==(\S+)$", pins, re.MULTILINE))
    if missing := [name for name in WHEELS if name not in versions]:
        raise BundleError(f"{PINS} pins no version of {', '.join(missing)}")
    return [f"{name}=={versions[name]}" for name in WHEELS]


def download(requirements: list[str], folder: Path) -> None:
    platforms = [*(f"manylinux_2_{minor}_x86_64" for minor in GLIBC), "manylinux2014_x86_64"]
    target = [argument for name in platforms for argument in ("--platform", name)]
    target += ["--python-version", PYTHON, "--implementation", "cp", "--only-binary=:all:", "--no-deps"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, *target, "--dest", str(folder), *requirements]).returncode:
        raise BundleError("pip could not download the wheels; it says above which one")


def pack(file: Path) -> None:
    """Zip the parts of the repository that the groups use, with git's word for what belongs to it."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in files():
            packed.write(ROOT / name, name)


def files() -> Iterator[str]:
    """The names of the files to pack."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PACKED]
    for name in subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if not name.startswith(LEFT_OUT) and not name.endswith(".png") and (ROOT / name).exists():
            yield name


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes of each file, by its path in the folder."""
    return {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}


def check(sizes: dict[str, int]) -> None:
    """Raise `BundleError` if they are too large together, with the largest first."""
    total = sum(sizes.values())
    if total > MOST_BYTES:
        largest = sorted(sizes.items(), key=lambda one: -one[1])
        listed = "\n".join(f"{size / 1e6:8.1f} MB  {name}" for name, size in largest)
        size = f"{total / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:.0f} fit"
        raise BundleError(f"the bundle has {size}. Leave out what is large:\n{listed}")


if __name__ == "__main__":
    main()
