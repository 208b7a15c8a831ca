"""The options of a run, read from a request's headers and query."""

import re

from fastapi import Request

from deployments.errors import InvalidInput

from ..errors import nearest
from ..run import DEFAULT_OPTIONS, RunOptions

PREFER_WAIT = re.compile(r"\bwait=(\d+(?:\.\d+)?)")
PREFER_ASYNC = re.compile(r"\brespond-async\b")
KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
PARAMETERS = ("wait", "priority", "timeout_s", "webhook")


def read_run_options(request: Request) -> RunOptions:
    """The options in the headers `Prefer` and `Idempotency-Key` and in the query (`PARAMETERS`).

    Raises:
        InvalidInput: an option has an invalid value, or the query has an unknown parameter.
    """
    prefer = request.headers.get("prefer")
    key = request.headers.get("idempotency-key")
    if prefer is None and key is None and not request.scope["query_string"]:
        return DEFAULT_OPTIONS
    query = request.query_params
    for name in query:
        if name not in PARAMETERS:
            raise InvalidInput(name[:80], f"is not an option of a run.{nearest(name, PARAMETERS)}")
    prefer = prefer or ""
    waits = PREFER_WAIT.search(prefer)
    if key is not None and not KEY.fullmatch(key):
        raise InvalidInput("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return RunOptions(
        respond_async=bool(PREFER_ASYNC.search(prefer)),
        wait_s=float(waits[1]) if waits else number(query.get("wait"), "wait", 0, 3600),
        idempotency_key=key,
        priority=int(number(query.get("priority"), "priority", -10, 10) or 0),
        timeout_s=number(query.get("timeout_s"), "timeout_s", 0.1, 7 * 86400),
        webhook=query.get("webhook"),
    )


def number(text: str | None, name: str, least: float, most: float) -> float | None:
    """A query parameter as a number.

    Raises:
        InvalidInput: the text is not a number, or the number is out of bounds.
    """
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise InvalidInput(name, f"must be a number from {least:g} to {most:g}")
    return value
