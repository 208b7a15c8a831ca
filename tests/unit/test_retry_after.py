"""The header `Retry-After` in all its forms."""

import pytest

from deployments.retry_after import retry_after

NOW = 1_785_585_600.0  # 1 August 2026, noon UTC


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("9" * 400, 999_999_999_999.0),
        ("Sat, 01 Aug 2026 12:01:00 GMT", 60.0),
        ("Sat, 01 Aug 2026 14:01:00 +0200", 60.0),
        ("Sat, 01 Aug 2026 12:01:00", 60.0),
        ("Sat, 01 Aug 2026 12:01:00 -0000", 60.0),
        ("Sat, 01 Aug 2026 11:00:00 GMT", 0.0),
    ],
)
def test_a_number_or_a_date_is_a_wait_from_now(value: str, seconds: float) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [None, "", " ", "soon", "-5", "1.5", "1e3", "٣", "Sat, 99 Aug 2026 12:00:00 GMT"],
)
def test_anything_else_names_no_wait(value: str | None) -> None:
    assert retry_after(value, NOW) is None
