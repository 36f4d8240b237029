"""Times of day as documents of registries have them: RFC 3339, to nanoseconds since 1970."""

from __future__ import annotations

import calendar
import re

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_LATEST = 1 << 33
"""Seconds since 1970 that a file system can show."""


def nanoseconds(text: str) -> int:
    """The time that `text` says; 0 when it says none, or one that no file can have."""
    match = _TIME.fullmatch(text[:64])
    if match is None:
        return 0
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return 0
    away = (int(match[9]) * 60 + int(match[10])) * 60 if match[8] else 0
    seconds = calendar.timegm((year, month, day, hour, minute, second)) - (away if match[8] != "-" else -away)
    return seconds * 10**9 + int((match[7] or "0").ljust(9, "0")) if 0 < seconds < _LATEST else 0
