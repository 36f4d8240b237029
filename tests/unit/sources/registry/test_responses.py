"""Retry-After; the rest is asserted through the client in tests/conformance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.sources.registry.responses import describe, error_of, retry_after

if TYPE_CHECKING:
    from fusefs.net.transport import Response

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


class Answer:
    """A 503 as `error_of` sees it."""

    status, source, through = 503, "https://registry.example", ""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.rests: list[float] = []

    def read(self, limit: int) -> bytes:
        return b""

    def discard(self) -> None: ...

    def host_rests(self, seconds: float, why: str) -> None:
        self.rests.append(seconds)


@pytest.mark.parametrize("years", [-1, 0, 1])
def test_p6_a_date_in_retry_after_is_told_by_the_server_s_own_clock(years: int) -> None:
    """Ours may be wrong by a year, and then nobody would be asked for that long, or everybody at once."""
    theirs = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365 * years)
    answer = Answer({"Date": format_datetime(theirs), "Retry-After": format_datetime(theirs + timedelta(seconds=30))})
    error = error_of(cast("Response", answer))
    assert getattr(error, "retry_after", None) == 30
    assert answer.rests == [30]


def test_p10_a_deep_or_long_document_is_only_text() -> None:
    assert describe(b"[" * 60_000)[0] == ""
    assert len(describe(b"x" * 60_000)[1]) <= 301
