"""The weights that a profile names, fetched before its start and verified (`medley models`).

Weights on the hub go into the hub's cache, where every library looks (`HF_HOME`), at the pinned revision. Only the
files that the model's engine loads are fetched: safetensors, configuration and vocabulary, and one variant if named.
`weights_copy.py` fetches weights from a folder or bucket instead.
"""

# huggingface_hub's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import hashlib
import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from pydantic import ValidationError

from deployments.hub_errors import hub_reason
from deployments.loads import TEXTS, named_by

from ..config.loading import load_backend
from ..config.profile import Profile
from ..errors import BadWeights, InvalidConfig

CHUNK = 1 << 20


@dataclass(frozen=True)
class Weights:
    """A repository of the hub that a model is loaded from."""

    model: str
    name: str  # ORG/NAME
    revision: str | None
    variant: str | None
    files: tuple[str, ...]  # patterns of the file names that its engine loads
    only: tuple[str, ...] = ()  # patterns of whole paths, if it loads a part of the repository


@dataclass(frozen=True)
class File:
    name: str
    size: int  # bytes
    sha256: str | None  # the hub has it for large files


def named(profile: Profile) -> list[Weights]:
    """The weights on the hub that a profile's options name, including adapters, without folders and Medley's own.

    Raises:
        InvalidConfig: a model needs an option for its weights, and has none.
    """
    weights, packaged = list[Weights](), {weights.name for weights in profile.app.weights}
    for model in profile.app.models:
        try:
            options = load_backend(model.backend).Options.model_validate(profile.options.get(model.name, {}))
        except ValidationError as error:  # the model cannot start without options
            first = error.errors()[0]
            raise InvalidConfig(f"{model.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        weights += [
            Weights(model.name, load.name, load.revision, load.variant, load.files, load.only)
            for load in named_by(options)
            if _on_the_hub(load.name) and load.name not in packaged
        ]
    return weights


def _on_the_hub(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith(("starter/", "/", ".", "~"))


def chosen(files: Sequence[File], weights: Weights) -> list[File]:
    """The files of a repository that the engine loads.

    In a pipeline's repository, single-file copies at the top are left out, and files that the variant replaces.
    """
    names = {file.name for file in files}
    pipeline = "model_index.json" in names
    kept = list[File]()
    for file in files:
        folder, base = posixpath.split(file.name)
        stem, extension = posixpath.splitext(base)
        if not any(fnmatch(base, pattern) for pattern in weights.files):
            continue
        if weights.only and not any(fnmatch(file.name, pattern) for pattern in weights.only):
            continue
        if extension == ".safetensors" and pipeline and not folder:
            continue
        variant = f".{weights.variant}" if weights.variant else ""
        if variant and posixpath.join(folder, f"{stem}{variant}{extension}") in names:
            continue
        if not variant and pipeline and extension == ".safetensors" and "." in stem:
            continue  # another variant
        kept.append(file)
    return kept


def pull(weights: Weights) -> Path:
    """Fetch missing files into the hub's cache, with progress bars, and verify all files; returns their folder.

    Raises:
        BadWeights: the repository, revision or a file does not exist, may not be read, or is damaged.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        info = huggingface_hub.HfApi().model_info(weights.name, revision=weights.revision, files_metadata=True)
        listed = [
            File(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None) for file in info.siblings or ()
        ]
        files = chosen(listed, weights)
        heavy = [pattern for pattern in weights.files if pattern not in TEXTS and not pattern.endswith(".json")]
        if not any(fnmatch(posixpath.basename(file.name), pattern) for file in files for pattern in heavy):
            raise BadWeights(f"{weights.name} has no file that this model's engine loads: no {' or '.join(heavy)}")
        # By the revision's name, not its commit: offline, libraries look for the name in the cache too.
        folder = huggingface_hub.snapshot_download(
            weights.name, revision=weights.revision, allow_patterns=[file.name for file in files]
        )
    except (OfflineModeIsEnabled, LocalEntryNotFoundError):
        folder = _cached(weights)
        verify(Path(folder))
        return Path(folder)
    except HfHubHTTPError as error:
        raise BadWeights(f"{weights.name} cannot be fetched: {hub_reason(error, weights.revision)}") from None
    except OSError as error:
        raise BadWeights(f"{weights.name} cannot be fetched: {error}") from None
    verify(Path(folder), {file.name: file for file in files})
    return Path(folder)


def _cached(weights: Weights) -> str:
    """The folder of weights in the hub's cache that were fetched before."""
    import huggingface_hub

    cached = huggingface_hub.scan_cache_dir() if Path(huggingface_hub.constants.HF_HUB_CACHE).is_dir() else None
    for repository in cached.repos if cached else ():
        for revision in repository.revisions if repository.repo_id == weights.name else ():
            if (weights.revision or "main") in (revision.commit_hash, *revision.refs):
                return str(revision.snapshot_path)
    raise BadWeights(f"{weights.name} is not in the cache, and the hub is offline (or HF_HUB_OFFLINE is set)")


def verify(folder: Path, expected: Mapping[str, File] | None = None) -> None:
    """Check every safetensors file: its header and length, the files that an index names, and the digest if known.

    Raises:
        BadWeights: a file is missing, cut off or damaged.
    """
    for name, file in (expected or {}).items():
        path = folder / name
        if not path.is_file():
            raise BadWeights(f"{path} is missing")
        if file.size and path.stat().st_size != file.size:
            raise BadWeights(
                f"{path} has {path.stat().st_size:,} bytes instead of {file.size:,}; delete it and pull again"
            )
        if file.sha256 and digest(path) != file.sha256:
            raise BadWeights(f"{path} is damaged: its SHA-256 is not the one expected; delete it and pull again")
    for path in sorted(folder.rglob("*.safetensors")):
        _check_header(path)
    for index in sorted(folder.rglob("*.safetensors.index.json")):
        parts = set(json.loads(index.read_text())["weight_map"].values())
        if missing := sorted(part for part in parts if not (index.parent / part).is_file()):
            raise BadWeights(f"{index} names {missing[0]}, which is missing")


def _check_header(path: Path) -> None:
    """Check the form of a safetensors file: eight bytes of length, a header in JSON, and the tensors' bytes."""
    size, ends, length = path.stat().st_size, None, 0
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < size else None
        if header is not None:
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # treated as a file without a header
    if ends is None or 8 + length + max(ends, default=0) != size:
        raise BadWeights(f"{path} is cut off or not a safetensors file; delete it and pull again")


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
    return sha256.hexdigest()
