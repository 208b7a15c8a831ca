"""JSON bodies of untrusted callers: bounded in bytes and in values before they are validated.

A body of a few megabytes can hold millions of values, each of which costs a hundred times its bytes once parsed, and an
error document of its own once validated.
"""

import codecs
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from deployments.errors import InvalidInput, UnsupportedMedia

from ..errors import BodyTooLarge, invalid_request
from .parsing_pool import in_parsing_pool

T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)

JSON = "application/json"
MAX_VALUES = 50_000
SMALL_BYTES = 65_536  # a smaller body cannot hold enough values to matter: it is validated at once, on the event loop
# The beginnings of data URLs and of artifacts' ids, and any escape, in which one could be hidden.
MEDIA = re.compile(rb"data:|art_|\\u", re.IGNORECASE)
MAX_COMMAS = 1_000_000  # counted before anything is parsed; text of the largest body without media may have as many
SMALL_BODY_BYTES = 1_000_000  # the most for bodies that hold neither media nor long texts


async def read_body(request: Request, max_bytes: int, limit: str = "") -> bytes:
    """The body, which is not read to its end if it is too large.

    Args:
        limit: the name of the profile's key that sets `max_bytes`, for the error.

    Raises:
        BodyTooLarge: it has more than `max_bytes`.
    """
    announced = request.headers.get("content-length", "")
    received, pieces = int(announced) if announced.isdigit() else 0, list[bytes]()
    if received <= max_bytes:
        received = 0
        async for piece in request.stream():
            pieces.append(piece)
            received += len(piece)
            if received > max_bytes:
                break
    if received > max_bytes:
        named = f" ({limit})" if limit else ""
        raise BodyTooLarge(f"The body has more than the {max_bytes:,} bytes that are accepted here{named}.")
    return b"".join(pieces)


def check_text(body: bytes, max_bytes: int, limit: str) -> None:
    """Refuse a body that may hold media and holds none, if it is larger than a body of texts may be.

    Raises:
        BodyTooLarge: it has more than `max_bytes`; names the limit.
    """
    if len(body) > max_bytes and not MEDIA.search(body):
        raise BodyTooLarge(f"The body has no media and more than the {max_bytes:,} bytes of texts ({limit}).")


async def read_json(
    request: Request,
    schema: type[B],
    max_bytes: int = SMALL_BODY_BYTES,
    limit: str = "",
    known: Sequence[str] = (),
    text_limit: tuple[int, str] | None = None,
) -> B:
    """The validated JSON body.

    Args:
        limit: as for `read_body`.
        text_limit: as for `check_text`, of a body that may hold media.
        known: the names of fields, for a hint at a misspelt name; by default the schema's.

    Raises:
        UnsupportedMedia: the body is not JSON by its header.
        BodyTooLarge: it has more than `max_bytes`.
        InvalidRequest: a field is missing, unknown or invalid.
    """
    kind = media_type_of(request.headers.get("content-type"), JSON)
    if kind != JSON:
        raise UnsupportedMedia("content-type", f"{kind[:80]!r} is not accepted here: send {JSON}")
    body = await read_body(request, max_bytes, limit)
    if text_limit:
        check_text(body, *text_limit)
    try:
        return await validated(schema.model_validate_json, body)
    except ValidationError as error:
        raise invalid_request(error, known or list(schema.model_fields)) from None


def media_type_of(value: str | None, default: str = "") -> str:
    """The media type of a `content-type` header, without its parameters."""
    return (default if value is None else value).partition(";")[0].strip().lower()


async def validated(validate: Callable[[bytes], T], body: bytes, *, holds_media: bool = False) -> T:
    """The result of validating a JSON body: in the parsing pool if it is large or holds media.

    Args:
        holds_media: whether it may hold media.

    Raises:
        ValidationError: what `validate` raises.
        InvalidInput: the body has too many values.
    """
    body = body.removeprefix(codecs.BOM_UTF8) or b"{}"  # a byte order mark may be left out (RFC 8259, section 8.1)
    if len(body) <= SMALL_BYTES:
        pooled = holds_media and MEDIA.search(body)
        return await in_parsing_pool(validate, body) if pooled else validate(body)

    def check_and_validate() -> T:
        check_values(body)
        return validate(body)

    return await in_parsing_pool(check_and_validate)


def check_values(body: bytes) -> None:
    """Refuse JSON with more than `MAX_VALUES` values; what is not JSON is left to the validation.

    Raises:
        InvalidInput: the body has too many values.
    """
    if body.count(b",") > MAX_COMMAS:
        raise _too_many()
    try:
        parsed = from_json(body, cache_strings="keys")
    except ValueError:
        return
    count_values(parsed)


def count_values(parsed: Any) -> None:
    """As `check_values`, of a parsed body."""
    waiting: list[Any] = [parsed]
    count = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            inner: Sequence[Any] = list(cast(dict[str, Any], value).values())
        elif isinstance(value, list):
            inner = cast(list[Any], value)
        else:
            continue
        count += len(inner)
        if count > MAX_VALUES:
            raise _too_many()
        waiting.extend(inner)


def parsed_field(text: str) -> Any:
    """The value of a form's field that holds JSON; the text itself if it is not JSON.

    Raises:
        InvalidInput: it has too many values.
    """
    try:
        parsed = from_json(text)  # as a JSON body is read: half of a surrogate pair is refused
    except ValueError:
        return text
    count_values(parsed)
    return parsed


def _too_many() -> InvalidInput:
    return InvalidInput("body", f"has more than {MAX_VALUES:,} values, the most that are accepted")
