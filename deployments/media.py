"""`Audio`, `Image`, `Video`: bytes with a media type, checked by really opening them.

A field of one of these types accepts a data URL in JSON, a file in a multipart form, an instance in Python and, where
the service keeps artifacts, the id of one; it is written back to JSON as a data URL. Checking happens while pydantic
validates, so the error names the field. The validation context has the limits (`"limits"`: a `MediaLimits`, defaults
without) and what reads an artifact (`"artifacts"`: from an id to its bytes, blocking).

Bytes are untrusted: only listed container formats are probed (a playlist could name other addresses), headers are read
before pixels (a small file can claim a huge picture), and packets are counted before anything long is decoded.
"""

import base64
import io
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import PydanticCustomError, core_schema

from .errors import MedleyError
from .pieces import at_least_one

DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w-]+=[^;,]+)*;base64,", re.IGNORECASE)
ARTIFACT_ID = re.compile(r"art_[0-9a-f]{28}")
CONTAINERS = "wav,mp3,ogg,flac,aac,aiff,amr,caf,au,mov,matroska,webm,avi,mpeg,mpegts,w64"
IMAGE_FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp"}


@dataclass(frozen=True)
class MediaLimits:
    """What an incoming file may at most be."""

    image_pixels: int = 25_000_000
    audio_seconds: float = 600.0
    video_seconds: float = 300.0


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
    """A still picture: PNG, JPEG, WebP, GIF or BMP."""

    kind = "image"

    @classmethod
    def checked(cls, data: bytes, limits: MediaLimits) -> Self:
        import PIL.Image

        try:
            with PIL.Image.open(io.BytesIO(data), formats=list(IMAGE_FORMATS)) as picture:
                width, height = picture.size
                if width * height > limits.image_pixels:
                    raise _too_large(f"{width} x {height} pixels; at most {limits.image_pixels:,} are accepted")
                media_type = IMAGE_FORMATS[picture.format or ""]
                picture.load()
        except PIL.Image.DecompressionBombError:
            raise _too_large(f"more pixels than the {limits.image_pixels:,} that are accepted") from None
        except PIL.UnidentifiedImageError:
            raise _unsupported("image", f"one of {', '.join(IMAGE_FORMATS)}") from None
        except PydanticCustomError:  # a ValueError too
            raise
        except (OSError, SyntaxError, ValueError) as error:
            raise _damaged("image", error) from None
        return cls(data, media_type)


class _Timed(Media):
    """What audio and video share: a container with one stream that must decode and end in time."""

    @classmethod
    def checked(cls, data: bytes, limits: MediaLimits) -> Self:
        import av
        import av.error

        longest: float = getattr(limits, f"{cls.kind}_seconds")
        try:
            # PyAV hands these to FFmpeg: no other container, and no file or address named by this one, is opened.
            options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
            container = av.open(io.BytesIO(data), "r", options=options)
        except (av.error.FFmpegError, ValueError, EOFError):
            raise _unsupported(cls.kind, "a file FFmpeg reads, such as WAV, MP3, Ogg, FLAC, MP4 or WebM") from None
        with container:
            streams = container.streams.audio if cls.kind == "audio" else container.streams.video
            if not streams:
                raise PydanticCustomError("media_unsupported", "has no {kind} in it", {"kind": cls.kind})
            promised = (container.duration or 0) / 1_000_000
            name = container.format.name.split(",")[0]
            try:
                seconds = _seconds(container, streams[0], longest, cls.kind)
            except PydanticCustomError:  # a ValueError too
                raise
            except (av.error.FFmpegError, ValueError, EOFError) as error:
                raise _damaged(cls.kind, error) from None
        if seconds <= 0:
            raise _damaged(cls.kind, "nothing to play")
        if promised > longest + 1 and promised > 1.5 * seconds + 1:
            raise _damaged(cls.kind, f"its header promises {promised:.0f} s, it holds {seconds:.1f} s")
        return cls(data, _media_type(cls.kind, name))


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


def _seconds(container: Any, stream: Any, longest: float, kind: str) -> float:
    """Length by counting packets up to the limit; the first packets are decoded as proof that they can be."""
    seconds, to_decode = 0.0, 3
    for packet in container.demux(stream):
        if packet.dts is None and packet.size == 0:
            break
        if to_decode:
            packet.decode()
            to_decode -= 1
        if packet.pts is not None and packet.time_base is not None:
            seconds = max(seconds, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if seconds > longest:
            raise _too_large(f"longer than the {longest:g} s of {kind} that are accepted")
    return seconds


def _media_type(kind: str, container: str) -> str:
    known = {"mp3": "audio/mpeg", "mov": f"{kind}/mp4", "matroska": f"{kind}/webm"}
    return known.get(container, f"{kind}/{container}")


def _bytes(value: object, kind: str) -> bytes:
    if isinstance(value, Media):
        value = value.data
    if isinstance(value, str):
        head = DATA_URL.match(value)
        if not head:
            raise PydanticCustomError(
                "media_reference",
                "must be a base64 data URL (data:{kind}/...;base64,...) or the id of an artifact",
                {"kind": kind},
            )
        try:
            value = base64.b64decode(value[head.end() :], validate=True)
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


def _unsupported(kind: str, readable: str) -> PydanticCustomError:
    return PydanticCustomError(
        "media_unsupported", "is not {kind} that can be read: {readable}", {"kind": kind, "readable": readable}
    )


def _damaged(kind: str, reason: object) -> PydanticCustomError:
    return PydanticCustomError("media_damaged", "is damaged {kind}: {reason}", {"kind": kind, "reason": str(reason)})


def _too_large(reason: str) -> PydanticCustomError:
    return PydanticCustomError("media_too_large", "is too large: {reason}", {"reason": reason})
