"""The output of a batch: a folder with `rows/` in parquet, `media/`, `errors.jsonl`, and `batch.json` that marks it.

The columns of the parquet files come from the type of the graph's result, never from the values of some rows: files
with other columns could not be read together. What has no column type, such as a dictionary, is JSON text.
"""

# PyArrow's functions are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import enum
import json
import re
import shutil
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

import pyarrow as pa
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from deployments.errors import InvalidInput
from deployments.media import Media

from .batch_input import choices_of

# PyArrow declares no types.
Schema: TypeAlias = Any
Table: TypeAlias = Any
DataType: TypeAlias = Any

ROWS, MEDIA, ERRORS, MARK = "rows", "media", "errors.jsonl", "batch.json"
ROW = "row"  # the column with the number of the line
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which UTF-8 cannot hold
SCALARS: dict[Any, DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}


# The folder ----------------------------------------------------------------------------------------------------------


def open_folder(output: Path, overwrite: bool, **about: str) -> None:
    """Make the folder of a new batch and mark it; with `overwrite`, delete the batch that is there.

    Raises:
        InvalidInput: at `output`, if the folder holds a batch or cannot be written.
    """
    try:
        str(output.absolute()).encode()
    except UnicodeEncodeError:
        raise InvalidInput("output", "is not UTF-8: parquet holds the paths of media as text; name another") from None
    try:
        output.mkdir(parents=True, exist_ok=True)
        there = [name for name in (ROWS, MEDIA, ERRORS) if (output / name).exists()]
        if (output / MARK).exists():
            if not overwrite:
                raise InvalidInput(
                    "output", f"{output} holds a batch already: name another folder, or replace it with --overwrite"
                )
            _delete(output)
        elif there:
            raise InvalidInput("output", f"{output} holds {', '.join(there)}, which no batch made: name another folder")
        (output / MARK).write_text(json.dumps(about) + "\n")
    except OSError as error:
        raise InvalidInput("output", f"{output} cannot be written: {error.strerror}") from None


def _delete(output: Path) -> None:
    """Delete an earlier batch, its mark last: a deletion that breaks off can be repeated."""
    for name in (ROWS, MEDIA):
        if (output / name).exists():
            shutil.rmtree(output / name)
    for name in (ERRORS, MARK):
        (output / name).unlink(missing_ok=True)


# The columns ---------------------------------------------------------------------------------------------------------


def schema_of(result: type[BaseModel]) -> Schema:
    """The columns of a graph's results: the row's number and one column per field."""
    fields = [pa.field(_column(name), _type(field.annotation)) for name, field in result.model_fields.items()]
    return pa.schema([pa.field(ROW, pa.int64()), *fields])


def table_of(rows: list[dict[str, Any]], schema: Schema) -> Table:
    """Rows, as `row_of` makes them, as a table.

    Raises:
        pyarrow.ArrowException, OverflowError: a value does not fit its column, such as a number of more than 64 bits.
    """
    return pa.Table.from_pylist(rows, schema)


def row_of(number: int, result: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """A result as plain values, in the form of its columns."""
    values = {_column(name): value for name, value in result.items()} | {ROW: number}
    return {field.name: _fitted(values.get(field.name), field.type) for field in schema}


def _column(name: str) -> str:
    return f"result.{name}" if name == ROW else name  # the result's own field of that name


def _type(annotation: Any, inside: frozenset[Any] = frozenset()) -> DataType:
    """The column type of a field's type; text, which holds JSON, where there is none."""
    kind, *others = [choice for choice in choices_of(annotation) if choice is not type(None)] or [str]
    if others:
        return _common([_type(choice, inside) for choice in (kind, *others)])
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return _common([SCALARS.get(type(choice), pa.string()) for choice in inner])
    if origin in (list, set, frozenset, tuple) and len({*inner} - {Ellipsis}) == 1:
        return pa.list_(_type(inner[0], inside))
    if not isinstance(kind, type) or kind in inside:
        return pa.string()
    if issubclass(kind, BaseModel) and kind.model_fields:  # parquet has no columns without a field
        fields = kind.model_fields.items()
        return pa.struct([pa.field(name, _type(field.annotation, inside | {kind})) for name, field in fields])
    if issubclass(kind, enum.Enum):
        return _common([SCALARS.get(type(member.value), pa.string()) for member in kind])
    return SCALARS.get(kind, pa.string())


def _common(kinds: list[DataType]) -> DataType:
    """The one type of a union's parts; floating point for numbers, else text."""
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    return pa.float64() if all(kind in (pa.int64(), pa.float64()) for kind in kinds) else pa.string()


def _fitted(value: Any, kind: DataType) -> Any:
    """A plain value in the form of its column: JSON text where the column is text and the value is not."""
    if value is None:
        return None
    if pa.types.is_list(kind):
        return [_fitted(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: _fitted(value.get(field.name), field.type) for field in kind}
    if pa.types.is_string(kind):
        return SURROGATE.sub("\ufffd", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return float(value) if pa.types.is_floating(kind) else value


# The media -----------------------------------------------------------------------------------------------------------


def save_media(value: Any, folder: Path, stem: str) -> Any:
    """A result as plain values, with each media written to `folder` and replaced by its path."""
    if isinstance(value, Media):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', stem)[:120]}{value.suffix}"
        path.write_bytes(value.data)
        return str(path)
    if isinstance(value, BaseModel):
        return {name: save_media(getattr(value, name), folder, f"{stem}-{name}") for name in type(value).model_fields}
    if isinstance(value, Mapping):
        items = cast(Mapping[str, Any], value).items()
        return {str(key): save_media(item, folder, f"{stem}-{key}") for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [save_media(item, folder, f"{stem}-{number}") for number, item in enumerate(cast(list[Any], value), 1)]
    return value if isinstance(value, str) else to_jsonable_python(value, bytes_mode="base64")
