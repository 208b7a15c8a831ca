"""Weights copied from a folder or bucket with `ORG/NAME/...` (`medley models pull --from`).

They go into the weights folder (`MEDLEY_WEIGHTS`), where models look first. A list beside them has each file's digest
and the mark of its source, such as its ETag. A changed source is copied again even if its size is the same, and a
changed copy is detected. There are no revisions: a folder or bucket has none.
"""

# fsspec's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import hashlib
import os
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from deployments.backend import WEIGHTS_FOLDER

from ..errors import BadWeights, InvalidConfig
from .weights import CHUNK, File, Weights, chosen, verify

LIST = ".medley.json"
# Attributes by which file systems mark a file's content, the most reliable first: S3, Google, Azure, a disk, others.
MARKS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "created")


class Copied(BaseModel):
    """A file that has been copied."""

    mark: str | None  # of its source
    sha256: str


def copy(weights: Weights, source: str, report: Callable[[int, int], None]) -> Path:
    """Copy weights from a folder or bucket (any fsspec URL) into the weights folder and verify them; returns their
    folder.

    Args:
        report: called with the bytes copied so far and the total, also within a file.

    Raises:
        BadWeights: the source does not have the weights, or they are damaged.
        InvalidConfig: `MEDLEY_WEIGHTS` is not set.
    """
    import fsspec

    root = os.environ.get(WEIGHTS_FOLDER)
    if not root:
        raise InvalidConfig(f"set {WEIGHTS_FOLDER} to the folder from which models are loaded")
    files, base = fsspec.core.url_to_fs(f"{source.rstrip('/')}/{weights.name}")
    try:
        details: dict[str, Any] = {
            os.path.relpath(path, base): detail for path, detail in files.find(base, detail=True).items()
        }
    except FileNotFoundError:
        details = {}
    sources = chosen([File(name, int(detail["size"] or 0), None) for name, detail in details.items()], weights)
    if not sources:
        raise BadWeights(f"{source} has no files of {weights.name}")
    target, done, total = Path(root).expanduser() / weights.name, 0, sum(file.size for file in sources)
    copied = _read(target)
    for file in sources:
        to, mark = target / file.name, _mark(details[file.name])
        before = copied.get(file.name)
        same = before is not None and mark is not None and before.mark == mark
        if not (same and to.is_file() and to.stat().st_size == file.size):
            to.parent.mkdir(parents=True, exist_ok=True)
            with files.open(posixpath.join(base, file.name), "rb") as opened:
                digest = _copy(opened, to, lambda count, done=done: report(done + count, total))
            copied[file.name] = Copied(mark=mark, sha256=digest)
            _write(target, copied)
        done += file.size
        report(done, total)
    verify(target, {file.name: File(file.name, file.size, copied[file.name].sha256) for file in sources})
    return target


def _copy(opened: Any, to: Path, report: Callable[[int], None]) -> str:
    """Copy an open file, reporting the bytes copied so far; returns its SHA-256."""
    digest, count, part = hashlib.sha256(), 0, to.with_name(to.name + ".part")  # renamed when complete
    with part.open("wb") as written:
        while chunk := opened.read(CHUNK):
            written.write(chunk)
            digest.update(chunk)
            count += len(chunk)
            report(count)
    part.replace(to)
    return digest.hexdigest()


def _mark(detail: Mapping[str, Any]) -> str | None:
    return next((str(detail[key]) for key in MARKS if detail.get(key)), None)


def _read(folder: Path) -> dict[str, Copied]:
    """The files copied before; empty if the list is missing or cannot be read, and every file is copied again."""
    try:
        return _LISTED.validate_json((folder / LIST).read_bytes())
    except (OSError, ValidationError):
        return {}


def _write(folder: Path, copied: dict[str, Copied]) -> None:
    part = folder / f"{LIST}.part"
    part.write_bytes(_LISTED.dump_json(copied, indent=1))
    part.replace(folder / LIST)


_LISTED = TypeAdapter(dict[str, Copied])
