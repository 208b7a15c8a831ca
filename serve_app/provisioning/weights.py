"""`medley models`: the weights a profile names, fetched ahead of its start and verified.

A hub name goes into the hub's own cache, where every library looks (`HF_HOME`), at the pinned revision, and no more of
it than the model's engine loads: safetensors, configuration and vocabulary, of a variant only that one. From a folder
or bucket instead, `weights_copy.py` fetches them.
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
    """Something on the hub that a model is loaded from."""

    model: str
    name: str  # ORG/NAME
    revision: str | None
    variant: str | None
    files: tuple[str, ...]  # patterns of what its engine loads
    only: tuple[str, ...] = ()  # patterns of whole paths, where it loads a part of the repository


@dataclass(frozen=True)
class File:
    name: str
    size: int  # bytes
    sha256: str | None  # the hub knows it of large files


def named(profile: Profile) -> list[Weights]:
    """Every hub name in a profile's options, adapters among them; what ships with Medley and folders are left out.

    Raises:
        InvalidConfig: a model has to be told its weights, and is not.
    """
    found = list[Weights]()
    for model in profile.app.models:
        try:
            options = load_backend(model.backend).Options.model_validate(profile.options.get(model.name, {}))
        except ValidationError as error:  # a model that cannot start without options, and has none
            first = error.errors()[0]
            raise InvalidConfig(f"{model.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        found += [
            Weights(model.name, said.name, said.revision, said.variant, said.files, said.only)
            for said in named_by(options)
            if _on_the_hub(said.name)
        ]
    return found


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
        if weights.only and not any(fnmatch(file.name, pattern) for pattern in weights.only):
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
        heavy = [pattern for pattern in weights.files if pattern not in TEXTS and not pattern.endswith(".json")]
        if not any(fnmatch(posixpath.basename(file.name), pattern) for file in files for pattern in heavy):
            raise BadWeights(f"{weights.name} has nothing that this model's engine loads: no {' or '.join(heavy)}")
        # By the name it is asked for, not by the commit that this is now: offline the cache is asked for that name too.
        folder = huggingface_hub.snapshot_download(
            weights.name, revision=weights.revision, allow_patterns=[file.name for file in files]
        )
    except (OfflineModeIsEnabled, LocalEntryNotFoundError):
        folder = _here(weights)
        verify(Path(folder))
        return Path(folder)
    except HfHubHTTPError as error:
        raise BadWeights(f"{weights.name} cannot be fetched: {hub_reason(error, weights.revision)}") from None
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
            raise BadWeights(f"{here} is damaged: its SHA-256 is not what was sent; delete it and pull again")
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
