"""The input of a batch: lines of JSONL as requests of a graph, with the content of files in place of their paths."""

import codecs
import json
import os
import stat
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deployments.errors import InvalidInput
from deployments.media import Media, has_media

from ..graph import Graph

BLANK = b" \t\r"  # what JSON ignores around a value, but for the line feed that ends the line


def read_lines(source: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file that are not blank, each as `row` (its number from 1) and `line` (its bytes).

    Only a line feed ends a line: other separators, such as U+2028, may stand inside a JSON string.

    Raises:
        InvalidInput: the file cannot be read, or has no rows.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        raise InvalidInput("input", f"{source} cannot be read: {error.strerror}") from None
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    rows = [{"row": number, "line": line} for number, line in enumerate(lines, 1) if line.strip(BLANK)]
    if not rows:
        raise InvalidInput("input", f"{source} has no rows")
    return rows


def request_of(line: bytes, graph: Graph[..., Any], folder: Path) -> dict[str, Any]:
    """The fields of a request in a line, with the content of media files in place of their paths.

    Raises:
        InvalidInput: the line is not a JSON object, or a file cannot be read.
    """
    try:
        fields = json.loads(line.decode())
    except UnicodeDecodeError:
        raise InvalidInput("line", "is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput("line", f"is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidInput("line", "is not a JSON object")
    return _with_fields(cast(dict[str, Any], fields), graph.request, (), folder)


def _with_files(value: Any, annotation: Any, at: tuple[str, ...], folder: Path) -> Any:
    """A value of a type, with the content of a file in place of each path where the type has media."""
    if not has_media(annotation):
        return value
    if isinstance(value, str):
        is_url = value[:5].lower() == "data:"  # a malformed one is refused as such, not as a path
        is_path = any(map(_is_media, choices_of(annotation))) and not is_url
        return _content(value, at, folder) if is_path else value
    found: Any = value
    for choice in choices_of(annotation):
        if isinstance(found, dict):
            found = _in_object(cast(dict[str, Any], found), choice, at, folder)
        elif _is_kind(choice, Iterable) and isinstance(found, list):
            items = cast(list[Any], found)
            pairs = enumerate(zip(items, _item_kinds(choice, len(items)), strict=True))
            found = [_with_files(item, kind, (*at, str(number)), folder) for number, (item, kind) in pairs]
    return found


def _in_object(value: dict[str, Any], choice: Any, at: tuple[str, ...], folder: Path) -> dict[str, Any]:
    if isinstance(choice, type) and issubclass(choice, BaseModel) and _may_be(choice, value):
        return _with_fields(value, choice, at, folder)
    if _is_kind(choice, Mapping):
        kind = typing.get_args(choice)[-1]
        return {name: _with_files(item, kind, (*at, name), folder) for name, item in value.items()}
    return value


def _with_fields(fields: dict[str, Any], model: type[BaseModel], at: tuple[str, ...], folder: Path) -> dict[str, Any]:
    done = dict(fields)
    for name, field in model.model_fields.items():
        for key in {name, *_aliases(field)} & fields.keys():
            done[key] = _with_files(fields[key], field.annotation, (*at, key), folder)
    return done


def _aliases(field: FieldInfo) -> list[str]:
    return [alias for alias in (field.alias, field.validation_alias) if isinstance(alias, str)]


def choices_of(annotation: Any) -> list[Any]:
    """The types of a union, without notes (`Annotated`); any other type alone."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return choices_of(typing.get_args(annotation)[0])
    inner = typing.get_args(annotation) if origin in (typing.Union, types.UnionType) else ()
    return [choice for part in inner for choice in choices_of(part)] or [annotation]


def _is_media(choice: Any) -> bool:
    return isinstance(choice, type) and issubclass(choice, Media)


def _is_kind(choice: Any, kind: type[Any]) -> bool:
    origin = typing.get_origin(choice)
    return isinstance(origin, type) and issubclass(origin, kind)


def _item_kinds(choice: Any, count: int) -> Sequence[Any]:
    """The type of each item of a list; a tuple of fixed length has one for each place."""
    kinds = typing.get_args(choice)
    if typing.get_origin(choice) is tuple and kinds[-1] is not Ellipsis:
        return [*kinds, *[Any] * count][:count]
    return [kinds[0]] * count


def _may_be(model: type[BaseModel], value: dict[str, Any]) -> bool:
    """Whether a value's literal fields, such as `type`, are those of a model: a union is told apart by them."""
    literals = {
        name: typing.get_args(field.annotation)
        for name, field in model.model_fields.items()
        if typing.get_origin(field.annotation) is Literal
    }
    return all(value[name] in choices for name, choices in literals.items() if name in value)


def _content(path: str, at: tuple[str, ...], folder: Path) -> bytes:
    """The bytes of a file; only of a regular one, since a device or a pipe may never end.

    Raises:
        InvalidInput: the file cannot be read.
    """
    field = ".".join(at)
    shown = repr(path[:200])
    try:
        with open(folder / path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidInput(field, f"{shown} cannot be read: it is not a file")
            return file.read()
    except OSError as error:
        raise InvalidInput(field, f"{shown} cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL, or half of a surrogate pair
        raise InvalidInput(field, f"{shown} cannot be read: no file has such a name") from None


def _open_at_once(name: str, flags: int) -> int:
    """An opener that does not wait for the writer of a pipe."""
    return os.open(name, flags | os.O_NONBLOCK)
