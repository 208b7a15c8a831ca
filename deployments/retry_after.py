"""The header `Retry-After`: how long whoever answers wants to be left alone (RFC 9110, section 10.2.3)."""

from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_NUMBER = 12  # digits; more would overflow nothing, and mean nothing


def retry_after(value: str | None, now: float) -> float | None:
    """The wait that a header's value names, in seconds from `now`, never negative; None where it names none.

    Args:
        value: a number of seconds, or a date; a date without a time zone is in UTC.
        now: seconds since the epoch.
    """
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:LONGEST_NUMBER])
    try:
        date = parsedate_to_datetime(value)
        until = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(until - now, 0.0)
