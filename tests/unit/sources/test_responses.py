"""Retry-After; the rest is asserted through the client in tests/conformance."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.sources.responses import describe, retry_after

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30.0),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0.0),
        ("Fri, 02 Jan 2026 03:04:35 -0000", 30.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("-31536000", None),
        ("00000000000007", 7.0),
        ("9" * 400, 9_999_999_999.0),
        ("Fri, 02 Jan 1970 03:00:00 GMT", 0.0),
        ("Fri, 02 Jan 2026 03:04:35 GMT" + " " * 100, 30.0),
        ("Fri, 02 Jan 2026 03:04:35 GMT" + "(" * 100, None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, now=NOW) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d .{1,6}"))
def test_p6_whatever_it_says_is_a_time_or_nothing(header: str) -> None:
    seconds = retry_after(header, now=NOW)
    assert seconds is None or 0 <= seconds < 1e12


def test_p10_a_deep_or_long_document_is_only_text() -> None:
    assert describe(b"[" * 60_000)[0] == ""
    assert len(describe(b"x" * 60_000)[1]) <= 301
