"""`medley models pull --from`: weights copied from a folder or bucket that holds `ORG/NAME/...`.

They go into the weights folder (`MEDLEY_WEIGHTS`), where models look first. A list beside them says of each file how
its source was marked and what its bytes were, so that a source that has changed is copied again, though it be as large
as before, and a copy that has changed is found. It knows of no revisions: a folder or bucket has none.
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
# What file systems mark a file's content by, the most telling first: S3, Google, Azure, a disk, others.
MARKS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "created")


class Copied(BaseModel):
    """A file that has been copied."""

    mark: str | None  # of its source
    sha256: str


def copy(weights: Weights, source: str, told: Callable[[int, int], None]) -> Path:
    """Copy from a folder or bucket (any fsspec URL) into the weights folder, and verify it; the folder it is in.

    Args:
        told: of the bytes that are there, and all there are; also within a file.

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
        details: dict[str, Any] = {
            os.path.relpath(path, base): detail for path, detail in files.find(base, detail=True).items()
        }
    except FileNotFoundError:
        details = {}
    wanted = chosen([File(name, int(detail["size"] or 0), None) for name, detail in details.items()], weights)
    if not wanted:
        raise BadWeights(f"{source} has nothing of {weights.name}")
    target, done, total = Path(root).expanduser() / weights.name, 0, sum(file.size for file in wanted)
    copied = _read(target)
    for file in wanted:
        to, mark = target / file.name, _mark(details[file.name])
        before = copied.get(file.name)
        same = before is not None and mark is not None and before.mark == mark
        if not (same and to.is_file() and to.stat().st_size == file.size):
            to.parent.mkdir(parents=True, exist_ok=True)
            with files.open(posixpath.join(base, file.name), "rb") as opened:
                digest = _copy(opened, to, lambda count, done=done: told(done + count, total))
            copied[file.name] = Copied(mark=mark, sha256=digest)
            _write(target, copied)
        done += file.size
        told(done, total)
    verify(target, {file.name: File(file.name, file.size, copied[file.name].sha256) for file in wanted})
    return target


def _copy(opened: Any, to: Path, told: Callable[[int], None]) -> str:
    """Copy an open file, telling the bytes that are there; its SHA-256."""
    digest, count, part = hashlib.sha256(), 0, to.with_name(to.name + ".part")  # whole or not there: it may be cut off
    with part.open("wb") as written:
        while chunk := opened.read(CHUNK):
            written.write(chunk)
            digest.update(chunk)
            count += len(chunk)
            told(count)
    part.replace(to)
    return digest.hexdigest()


def _mark(detail: Mapping[str, Any]) -> str | None:
    return next((str(detail[key]) for key in MARKS if detail.get(key)), None)


def _read(folder: Path) -> dict[str, Copied]:
    """What has been copied before; nothing where there is no list that can be read, and all is copied anew."""
    try:
        return _LISTED.validate_json((folder / LIST).read_bytes())
    except (OSError, ValidationError):
        return {}


def _write(folder: Path, copied: dict[str, Copied]) -> None:
    part = folder / f"{LIST}.part"
    part.write_bytes(_LISTED.dump_json(copied, indent=1))
    part.replace(folder / LIST)


_LISTED = TypeAdapter(dict[str, Copied])
