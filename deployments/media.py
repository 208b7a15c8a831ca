"""`Audio`, `Image`, `Video`: bytes with a media type, checked by really opening them.

A field of one of these types accepts a data URL in JSON, a file in a multipart form, an instance in Python and, where
the service keeps artifacts, the id of one; it is written back to JSON as a data URL. Checking happens while pydantic
validates, so the error names the field. The validation context has the limits (`"limits"`: a `MediaLimits`, defaults
without) and what reads an artifact (`"artifacts"`: from an id to its bytes, blocking).

Bytes are untrusted: `picture_file.py` and `timed_file.py` open them.
"""

import base64
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import PydanticCustomError, core_schema

from . import picture_file, timed_file
from .bad_media import BadMedia
from .errors import MedleyError
from .pieces import at_least_one

# A parameter may be quoted, with any sign in it; browsers' recorders write `codecs=vp9,opus` without quotes.
PARAMETER = r""";\s*[\w!#$&^.+-]+\s*(?:=(?:\s*"(?:[^"\\]|\\.)*"\s*|[^;"]*))?"""
DATA_URL = re.compile(
    rf"data:(?P<type>[\w!#$&^.+-]+/[\w!#$&^.+-]+)?\s*(?:{PARAMETER})*;\s*base64\s*,", re.IGNORECASE | re.ASCII
)
LONGEST_HEAD = 1024  # characters of a data URL before its data
BLANKS = bytes(range(33))  # between the lines of base64
ARTIFACT_ID = re.compile(r"art_[0-9a-f]{28}")


@dataclass(frozen=True)
class MediaLimits:
    """What an incoming file may at most be."""

    image_pixels: int = 25_000_000
    audio_seconds: float = 600.0
    video_seconds: float = 300.0
    video_pixels: int = 4096 * 2304  # of a frame


@dataclass(frozen=True, repr=False)
class Media:
    """Bytes with the media type they were found to have."""

    data: bytes
    media_type: str
    artifact: str | None = field(default=None, compare=False)  # the id it was read from: these bytes are kept already

    kind: ClassVar[str] = "media"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.media_type}, {len(self.data):,} bytes)"

    @property
    def url(self) -> str:
        """The same as a `data:` URL."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"

    @property
    def suffix(self) -> str:
        """The file name ending that fits, with its dot."""
        subtype = self.media_type.split("/")[-1].removeprefix("x-")
        return "." + {"jpeg": "jpg", "mpeg": "mp3", "matroska": "mkv", "quicktime": "mov"}.get(subtype, subtype)

    @classmethod
    def checked(cls, data: bytes, limits: MediaLimits) -> Self:
        """Open `data`, and name what it is.

        Raises:
            PydanticCustomError: it is not this kind of media, is damaged, or exceeds `limits`.
        """
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def read(value: object, info: ValidationInfo) -> Self:
            if isinstance(value, cls):
                return value
            context = info.context or {}
            limits = context.get("limits", MediaLimits())
            if isinstance(value, str) and ARTIFACT_ID.fullmatch(value):
                return replace(cls.checked(_artifact(value, context.get("artifacts")), limits), artifact=value)
            return cls.checked(_bytes(value, cls.kind), limits)

        return core_schema.with_info_plain_validator_function(
            read,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda media: media.url, when_used="json"),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "string",
            "format": "data-url",
            "title": cls.__name__,
            "contentMediaType": f"{cls.kind}/*",
            "description": f"{cls.__name__} as a base64 data URL (`data:{cls.kind}/...;base64,...`), "
            "a form's file, or the id of an artifact (`art_...`)",
        }


class Image(Media):
    """A still picture: PNG, JPEG, WebP, GIF or BMP, and AVIF where Pillow has its decoder."""

    kind = "image"

    @classmethod
    def checked(cls, data: bytes, limits: MediaLimits) -> Self:
        try:
            return cls(data, picture_file.opened(data, limits.image_pixels)[1])
        except BadMedia as error:
            raise _refusal(error) from None

    @staticmethod
    def unread_format(data: bytes) -> str | None:
        """The name of the picture format of `data` if it is one that is known and not read, such as HEIC."""
        return picture_file.unread_name(data)


class _Timed(Media):
    """What audio and video share: a container with one stream that must decode and end in time."""

    @classmethod
    def checked(cls, data: bytes, limits: MediaLimits) -> Self:
        kind: timed_file.Kind = "audio" if cls.kind == "audio" else "video"
        longest: float = getattr(limits, f"{kind}_seconds")
        pixels = limits.video_pixels if kind == "video" else None
        try:
            with timed_file.opened(data, kind, pixels) as (container, stream):
                timed_file.measure(container, stream, kind, longest, pixels)
                return cls(data, timed_file.media_type(container, kind))
        except BadMedia as error:
            raise _refusal(error) from None


class Audio(_Timed):
    """A recording in any container FFmpeg reads: WAV, MP3, Ogg, FLAC, MP4, WebM, ..."""

    kind = "audio"

    @classmethod
    def split(cls, whole: Self) -> list[Self]:
        """A recording as one piece."""
        return [whole]

    @classmethod
    def join(cls, pieces: Sequence[Self]) -> Self:
        """The file whose pieces these are: their bytes one after the other, of the media type of the first.

        Raises:
            ModelUnavailable: there are none.
        """
        return cls(b"".join(piece.data for piece in at_least_one(pieces)), pieces[0].media_type)


class Video(_Timed):
    """A film in MP4, WebM, MKV, MOV or AVI."""

    kind = "video"


def has_media(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether a type is media or has it inside. `seen` are the types it is inside of: a model may hold its own kind."""
    if isinstance(annotation, type) and issubclass(annotation, Media):
        return True
    inside: Iterable[Any] = typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        inside = [field.annotation for field in annotation.model_fields.values()]
        seen |= {annotation}
    return any(has_media(part, seen) for part in inside)


def _bytes(value: object, kind: str) -> bytes:
    if isinstance(value, Media):
        value = value.data
    if isinstance(value, str):
        head = DATA_URL.match(value, 0, LONGEST_HEAD)
        if not head:
            raise PydanticCustomError(
                "media_reference",
                "must be a base64 data URL (data:{kind}/...;base64,...) or the id of an artifact",
                {"kind": kind},
            )
        try:
            value = _decoded(value[head.end() :])
        except ValueError as error:  # binascii.Error, or letters beyond ASCII
            raise PydanticCustomError(
                "media_reference", "is not valid base64: {reason}", {"reason": str(error)}
            ) from None
    if not isinstance(value, bytes | bytearray | memoryview):
        raise PydanticCustomError("media_reference", "must be {kind}: a data URL or a file", {"kind": kind})
    if not value:
        raise PydanticCustomError("media_damaged", "is empty")
    return bytes(value)


def _artifact(id: str, load: Callable[[str], bytes] | None) -> bytes:
    if load is None:
        raise PydanticCustomError("media_reference", "is the id of an artifact; artifact ids are not taken here")
    try:
        return load(id)
    except MedleyError as error:
        if error.status >= 500:  # nothing the caller could mend
            raise
        raise PydanticCustomError("media_reference", "{reason}", {"reason": error.detail}) from None


def _decoded(text: str) -> bytes:
    """Base64 as it is found in URLs: in lines, or with its signs escaped (`%2B`).

    Raises:
        ValueError: it is none; binascii.Error, or for letters beyond ASCII.
    """
    data = unquote_to_bytes(text) if "%" in text else text.encode("ascii")
    return base64.b64decode(data.translate(None, BLANKS), validate=True)


def _refusal(error: BadMedia) -> PydanticCustomError:
    return PydanticCustomError(f"media_{error.fault}", "{reason}", {"reason": error.detail})  # type: ignore[arg-type]
