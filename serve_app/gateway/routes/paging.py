"""Pages of a list, newest first: `limit`, and a `cursor` that is the last id of the page before."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.errors import InvalidInput

from ...storage.tables import ID

T = TypeVar("T")
LIMIT, MOST = 20, 100


def read_page(request: Request) -> tuple[int, str | None]:
    """How many are wanted, and the id they come after.

    Raises:
        InvalidInput: `limit` or `cursor` cannot be used.
    """
    limit, cursor = request.query_params.get("limit", str(LIMIT)), request.query_params.get("cursor")
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= MOST:
        raise InvalidInput("limit", f"must be a whole number from 1 to {MOST}")
    if cursor is not None and not ID.fullmatch(cursor):
        raise InvalidInput("cursor", "is not one of this list: take `next_cursor` as it was given")
    return int(limit), cursor


def page(name: str, found: Sequence[T], limit: int, describe: Callable[[T], dict[str, Any]]) -> Response:
    """The answer. `found` has one more than `limit` where another page follows."""
    shown = [describe(one) for one in found[:limit]]
    return JSONResponse({name: shown, "next_cursor": shown[-1]["id"] if len(found) > limit else None})
