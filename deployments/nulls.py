"""Nulls in requests: many clients write out every optional field, as null where they have no value for it."""

from typing import Any, cast

from pydantic import BaseModel, model_validator


def without_nulls(model: type[BaseModel], fields: Any) -> Any:
    """The fields of a request without those that are null, except for a field that `model` requires."""
    if not isinstance(fields, dict):
        return fields
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    given = cast(dict[str, Any], fields)
    return {name: value for name, value in given.items() if value is not None or name in required}


class NullIsAbsent(BaseModel):
    """A part of a request in which null means that the caller says nothing, as if the field were not there."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        return without_nulls(cls, fields)
