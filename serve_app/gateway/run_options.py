"""The options of a run, read from a request's headers and query."""

import re
from collections.abc import Sequence

from fastapi import Request

from deployments.errors import InvalidInput

from ..errors import nearest
from ..run import DEFAULT_OPTIONS, RunOptions

ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')  # of a comma-separated list, in which strings may have commas
PREFERENCE = re.compile(r"""\s*([\w!#$%&'*+.^`|~-]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^\s,;"]*))?""", re.ASCII)
SECONDS = re.compile(r"\d{1,10}(?:\.\d{1,10})?", re.ASCII)
EVENT_STREAM, REFUSED = "text/event-stream", re.compile(r"q\s*=\s*0(?:\.0*)?")
KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
PARAMETERS = ("wait", "priority", "timeout_s", "webhook")


def read_run_options(request: Request) -> RunOptions:
    """The options in the headers `Prefer` and `Idempotency-Key` and in the query (`PARAMETERS`).

    Raises:
        InvalidInput: an option has an invalid value, or the query has an unknown parameter.
    """
    prefer = request.headers.getlist("prefer")
    key = request.headers.get("idempotency-key")
    if not prefer and key is None and not request.scope["query_string"]:
        return DEFAULT_OPTIONS
    query = request.query_params
    for name in query:
        if name not in PARAMETERS:
            raise InvalidInput(name[:80], f"is not an option of a run.{nearest(name, PARAMETERS)}")
    preferences = read_preferences(prefer)
    waits = SECONDS.fullmatch(preferences.get("wait", ""))
    if key is not None and not KEY.fullmatch(key):
        raise InvalidInput("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return RunOptions(
        # Both together: a job, unless the result comes within the wait (RFC 7240, section 4.3).
        respond_async="respond-async" in preferences and not waits,
        wait_s=float(waits[0]) if waits else number(query.get("wait"), "wait", 0, 3600),
        idempotency_key=key,
        priority=int(number(query.get("priority"), "priority", -10, 10) or 0),
        timeout_s=number(query.get("timeout_s"), "timeout_s", 0.1, 7 * 86400),
        webhook=query.get("webhook"),
    )


def read_preferences(headers: Sequence[str]) -> dict[str, str]:
    """The preferences in `Prefer` headers by name (RFC 7240): names in lower case, several headers are one list, the
    first of a name counts, and parameters after `;` are left out."""
    preferences: dict[str, str] = {}
    for element in ELEMENT.findall(",".join(headers)):
        found = PREFERENCE.match(element)
        if found:
            value = found[2] or ""
            preferences.setdefault(found[1].lower(), value[1:-1] if value.startswith('"') else value)
    return preferences


def wants_events(request: Request) -> bool:
    """Whether a client accepts server-sent events, in any spelling and header, unless it gives them the weight 0."""
    accept = ",".join(request.headers.getlist("accept")).lower()
    if EVENT_STREAM not in accept:
        return False
    for element in accept.split(","):
        kind, *parameters = (part.strip() for part in element.split(";"))
        if kind == EVENT_STREAM:
            return not any(map(REFUSED.fullmatch, parameters))
    return False


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
