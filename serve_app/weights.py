"""`medley models`: the weights a profile names, fetched ahead of its start and verified.

A hub name goes into the hub's own cache, where every library looks (`HF_HOME`), at the pinned revision, and no more of
it than the model's engine loads: safetensors, configuration and vocabulary, of a variant only that one. With a source
(a folder or bucket that holds `ORG/NAME/...`) it goes into the weights folder (`MEDLEY_WEIGHTS`), where models look
first.
"""

# huggingface_hub's and fsspec's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from deployments.backend import WEIGHTS_FOLDER

from .config import Profile, load_backend
from .errors import BadWeights, InvalidConfig

TEXTS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
USUAL = ("*.safetensors", *TEXTS)  # what engines load, unless a backend says otherwise (`weights_files`)
CHUNK = 1 << 20


@dataclass(frozen=True)
class Weights:
    """Something on the hub that a model is loaded from."""

    model: str
    name: str  # ORG/NAME
    revision: str | None
    variant: str | None
    files: tuple[str, ...]  # patterns of what its engine loads


@dataclass(frozen=True)
class File:
    name: str
    size: int  # bytes
    sha256: str | None  # known for large files


def named(profile: Profile) -> list[Weights]:
    """Every hub name in a profile's options, adapters among them; what ships with Medley and folders are left out."""
    backends = {model.name: load_backend(model.backend) for model in profile.app.models}
    options = profile.options
    found = list[Weights]()
    for model, backend in backends.items():
        patterns = getattr(backend, "weights_files", USUAL)
        for said in _mappings(options.get(model, {})):
            name = said.get("weights")
            if isinstance(name, str) and _on_the_hub(name):
                found.append(Weights(model, name, said.get("revision"), said.get("variant"), patterns))
    return found


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _mappings(inner)


def _on_the_hub(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith(("starter/", "/", ".", "~"))


def chosen(files: Sequence[File], weights: Weights) -> list[File]:
    """Those of a repository's files that the engine loads.

    Of a pipeline's folder the single-file copies at its top are left out, and what the variant has in its place.
    """
    names = {file.name for file in files}
    pipeline = "model_index.json" in names
    kept = list[File]()
    for file in files:
        folder, base = posixpath.split(file.name)
        stem, extension = posixpath.splitext(base)
        if not any(fnmatch(base, pattern) for pattern in weights.files):
            continue
        if extension == ".safetensors" and pipeline and not folder:
            continue
        variant = f".{weights.variant}" if weights.variant else ""
        if variant and posixpath.join(folder, f"{stem}{variant}{extension}") in names:
            continue
        if not variant and pipeline and extension == ".safetensors" and "." in stem:
            continue  # a variant nobody asked for
        kept.append(file)
    return kept


def pull(weights: Weights) -> Path:
    """Fetch into the hub's cache what is not there yet, with progress bars, and verify it; the folder it is in.

    Raises:
        BadWeights: there is no such repository, revision or file, it may not be read, or it is damaged.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        found = huggingface_hub.HfApi().model_info(weights.name, revision=weights.revision, files_metadata=True)
        listed = [
            File(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None) for one in found.siblings or ()
        ]
        files = chosen(listed, weights)
        heavy = [pattern for pattern in weights.files if pattern not in TEXTS]
        if not any(fnmatch(posixpath.basename(file.name), pattern) for file in files for pattern in heavy):
            raise BadWeights(f"{weights.name} has nothing that this model's engine loads: no {' or '.join(heavy)}")
        folder = huggingface_hub.snapshot_download(
            weights.name, revision=found.sha, allow_patterns=[file.name for file in files]
        )
    except (OfflineModeIsEnabled, LocalEntryNotFoundError):
        folder = _here(weights)
        verify(Path(folder))
        return Path(folder)
    except HfHubHTTPError as error:
        raise BadWeights(f"{weights.name}: {str(error).strip().splitlines()[-1]}") from None
    except OSError as error:
        raise BadWeights(f"{weights.name} cannot be fetched: {error}") from None
    verify(Path(folder), {file.name: file for file in files})
    return Path(folder)


def _here(weights: Weights) -> str:
    """The folder in the hub's cache that has been fetched before."""
    import huggingface_hub

    cached = huggingface_hub.scan_cache_dir() if Path(huggingface_hub.constants.HF_HUB_CACHE).is_dir() else None
    for repository in cached.repos if cached else ():
        for revision in repository.revisions if repository.repo_id == weights.name else ():
            if (weights.revision or "main") in (revision.commit_hash, *revision.refs):
                return str(revision.snapshot_path)
    raise BadWeights(f"{weights.name} is not here, and the hub cannot be asked (offline, or HF_HUB_OFFLINE is set)")


def copy(weights: Weights, source: str, told: Callable[[int, int], None]) -> Path:
    """Copy from a folder or bucket (any fsspec URL) into the weights folder, and verify it; the folder it is in.

    Args:
        told: of the bytes that are there, and all there are.

    Raises:
        BadWeights: there is nothing of that name, or it is damaged.
        InvalidConfig: `MEDLEY_WEIGHTS` does not say where to.
    """
    import fsspec

    root = os.environ.get(WEIGHTS_FOLDER)
    if not root:
        raise InvalidConfig(f"set {WEIGHTS_FOLDER} to the folder that models are to be loaded from")
    files, base = fsspec.core.url_to_fs(f"{source.rstrip('/')}/{weights.name}")
    try:
        sizes = {path: int(detail["size"] or 0) for path, detail in files.find(base, detail=True).items()}
    except FileNotFoundError:
        sizes = {}
    listed = [File(os.path.relpath(path, base), size, None) for path, size in sizes.items()]
    wanted = chosen(listed, weights)
    if not wanted:
        raise BadWeights(f"{source} has nothing of {weights.name}")
    target, done, total = Path(root).expanduser() / weights.name, 0, sum(file.size for file in wanted)
    for file in wanted:
        to = target / file.name
        if not (to.is_file() and to.stat().st_size == file.size):
            to.parent.mkdir(parents=True, exist_ok=True)
            part = to.with_name(to.name + ".part")  # whole or not there: a copy may be cut off
            files.get_file(posixpath.join(base, file.name), str(part))
            part.replace(to)
        done += file.size
        told(done, total)
    verify(target, {file.name: file for file in wanted})
    return target


def verify(folder: Path, expected: Mapping[str, File] | None = None) -> None:
    """Look at every safetensors file: its header and length, what an index names, and the digest where it is known.

    Raises:
        BadWeights: a file is missing, cut off or not what it should be.
    """
    for name, file in (expected or {}).items():
        here = folder / name
        if not here.is_file():
            raise BadWeights(f"{here} is missing")
        if file.size and here.stat().st_size != file.size:
            raise BadWeights(
                f"{here} has {here.stat().st_size:,} bytes instead of {file.size:,}; delete it and pull again"
            )
        if file.sha256 and _digest(here) != file.sha256:
            raise BadWeights(f"{here} is damaged: its SHA-256 is not the hub's; delete it and pull again")
    for path in sorted(folder.rglob("*.safetensors")):
        _check_header(path)
    for index in sorted(folder.rglob("*.safetensors.index.json")):
        parts = set(json.loads(index.read_text())["weight_map"].values())
        if missing := sorted(part for part in parts if not (index.parent / part).is_file()):
            raise BadWeights(f"{index} names {missing[0]}, which is not there")


def _check_header(path: Path) -> None:
    """A safetensors file is eight bytes of length, a header in JSON, and the tensors' bytes, to the last one."""
    size, ends, length = path.stat().st_size, None, 0
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < size else None
        if header is not None:
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # as without a header
    if ends is None or 8 + length + max(ends, default=0) != size:
        raise BadWeights(f"{path} is cut off or no safetensors; delete it and pull again")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
