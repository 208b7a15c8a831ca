"""Values as JSON documents with media as artifact ids, and back; and the digest that tells whether two are equal.

A field of a media type accepts an artifact's id, so reading back is pydantic's own validation.
"""

import asyncio
import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter

from deployments.media import Media, MediaLimits

from ..storage.artifacts import Artifact, Artifacts, Folder

ARTIFACT_MARK = '"art_'  # how an artifact's id begins in a document
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which neither UTF-8 nor a database can hold
ENCODER = json.JSONEncoder(ensure_ascii=False)
UNLIMITED = MediaLimits(2**40, math.inf, math.inf, 2**31 - 1)  # media read back were within limits when they came in


@dataclass(frozen=True)
class Writer:
    """Writes documents of one job into one folder of the artifact store."""

    artifacts: Artifacts
    user: str
    job_id: str
    folder: Folder

    def write(self, value: Any, name: str) -> tuple[Any, list[Artifact]]:
        """The document, and the artifacts whose rows belong in the same transaction. Stores the bytes, so it blocks.

        Raises:
            StorageUnavailable: the store does not answer.
        """
        made: list[Artifact] = []

        def stored(media: Media, path: str) -> str:
            if media.artifact is not None:  # the media came from the store
                return media.artifact
            artifact = self.artifacts.write_here(
                self.user, self.folder, media.data, media.media_type, job_id=self.job_id, name=path
            )
            made.append(artifact)
            return artifact.id

        return document(value, stored, name), made


def document(value: Any, media: Callable[[Media, str], Any], name: str = "") -> Any:
    """A value as JSON, with the result of `media(value, its name)` in place of each media."""
    if isinstance(value, Media):
        return media(value, name)
    if isinstance(value, BaseModel):
        return {key: document(getattr(value, key), media, _join(name, key)) for key in type(value).model_fields}
    if isinstance(value, Mapping):
        items = cast(Mapping[str, Any], value).items()
        return {key: document(inner, media, _join(name, key)) for key, inner in items}
    if isinstance(value, list | tuple):
        inside = cast(list[Any], value)
        return [document(inner, media, _join(name, str(number))) for number, inner in enumerate(inside, 1)]
    return value


def _join(name: str, part: str) -> str:
    return f"{name}-{part}" if name else part


def holds_media(value: Any) -> bool:
    """Whether a value contains media, which take a while to store."""
    if isinstance(value, Media):
        return True
    if isinstance(value, BaseModel):
        return any(holds_media(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, Mapping):
        return any(holds_media(inner) for inner in cast(Mapping[str, Any], value).values())
    return isinstance(value, list | tuple) and any(holds_media(inner) for inner in cast(list[Any], value))


def stored(value: Any) -> str:
    """The text of a JSON document as the database keeps it, with every character as its author wrote it.

    So a search finds it. NUL and other control characters stay escaped, which PostgreSQL's text needs; half a surrogate
    pair, which is no character, becomes U+FFFD.
    """
    return SURROGATE.sub("\ufffd", ENCODER.encode(value))


def digest(*values: Any) -> str:
    """SHA-256 over values, with media by their bytes: equal inputs have equal digests, in whatever form they came."""
    parts = document(values, lambda media, _: {"media": [media.media_type, hashlib.sha256(media.data).hexdigest()]})
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read(kind: Any, text: str, artifacts: Artifacts, user: str) -> Any:
    """A document as a value of a type. Blocks while media are loaded.

    Raises:
        pydantic.ValidationError: the document does not fit the type, or one of its artifacts is gone.
        StorageUnavailable: the store does not answer.
    """
    context = {"limits": UNLIMITED, "artifacts": artifacts.opener(user)}
    return _adapter(kind).validate_json(text, context=context)


async def load(kind: Any, text: str, artifacts: Artifacts, user: str) -> Any:
    """A document as a value of a type, see `read`; in a thread if media may have to be loaded."""
    if ARTIFACT_MARK in text:
        return await asyncio.to_thread(read, kind, text, artifacts, user)
    return read(kind, text, artifacts, user)


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
