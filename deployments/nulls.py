"""Nulls in requests: many clients write out every optional field, as null where they have no value for it."""

from typing import Any, cast

from pydantic import BaseModel, model_validator


def without_nulls(model: type[BaseModel], fields: Any) -> Any:
    """The fields of a request without those that are null, except for a field that `model` requires."""
    if not isinstance(fields, dict):
        return fields
    given = cast(dict[str, Any], fields)
    nulls = [name for name, value in given.items() if value is None]
    absent = {name for name in nulls if name not in model.model_fields or not model.model_fields[name].is_required()}
    return {name: value for name, value in given.items() if name not in absent} if absent else given


class NullIsAbsent(BaseModel):
    """A part of a request in which null means that the caller says nothing, as if the field were not there."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        return without_nulls(cls, fields)
