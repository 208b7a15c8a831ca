"""The search of jobs for a text that their user wrote or got: the database preselects, the values decide.

Input and output are JSON in the database (`serialization.stored`), so a text is looked for in the form that JSON gives
it. That alone would also find the names of fields and the letters of escapes, such as the `n` of a line break.
"""

import json
from typing import Any, cast

from sqlalchemy import ColumnElement, or_

from ..storage.tables import jobs
from .serialization import ENCODER


def preselects(text: str) -> ColumnElement[bool]:
    """The condition that a job's input or output may hold a text; upper and lower case are the same, as far as the
    database knows them."""
    escaped = ENCODER.encode(text)[1:-1]
    return or_(*(column.icontains(escaped, autoescape=True) for column in (jobs.c.input, jobs.c.output)))


def holds(*documents: str | None, text: str) -> bool:
    """Whether a value in a job's input or output has a text in it, in upper or lower case."""
    lowered = text.lower()
    return any(_in_value(json.loads(document), lowered) for document in documents if document is not None)


def _in_value(value: Any, lowered: str) -> bool:
    if isinstance(value, dict):
        return any(_in_value(inner, lowered) for inner in cast(dict[str, Any], value).values())
    if isinstance(value, list):
        return any(_in_value(inner, lowered) for inner in cast(list[Any], value))
    if value is None or isinstance(value, bool):
        return False
    return lowered in str(value).lower()
