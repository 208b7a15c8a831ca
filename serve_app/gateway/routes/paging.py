"""Pages of a list, newest first: `limit`, and a `cursor` that is the last id of the previous page."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.errors import InvalidInput

from ...storage.tables import ID

T = TypeVar("T")
DEFAULT_LIMIT, MAX_LIMIT = 20, 100


def read_page(request: Request) -> tuple[int, str | None]:
    """The limit, and the id that the page comes after.

    Raises:
        InvalidInput: `limit` or `cursor` is invalid.
    """
    limit, cursor = request.query_params.get("limit", str(DEFAULT_LIMIT)), request.query_params.get("cursor")
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise InvalidInput("limit", f"must be a whole number from 1 to {MAX_LIMIT}")
    if cursor is not None and not ID.fullmatch(cursor):
        raise InvalidInput("cursor", "is not a cursor of this list: send the `next_cursor` of the previous page")
    return int(limit), cursor


def page(name: str, rows: Sequence[T], limit: int, describe: Callable[[T], dict[str, Any]]) -> Response:
    """The response with a page. `rows` has one more than `limit` if another page follows."""
    items = [describe(row) for row in rows[:limit]]
    return JSONResponse({name: items, "next_cursor": items[-1]["id"] if len(rows) > limit else None})
