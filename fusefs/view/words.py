"""Numbers as a person reads them: sizes, rates, times, and text that has to fit."""

from __future__ import annotations

from fusefs.values.sizes import size_text


def size(count: float) -> str:
    """Bytes in three digits or so: `0 B`, `999 B`, `1.0 KiB`, `23.4 MiB`, `812 GiB`."""
    return size_text(count)


def rate(bytes_per_second: float) -> str:
    """`23.4 MiB/s`."""
    return f"{size(bytes_per_second)}/s"


def seconds(duration: float) -> str:
    """A time in at most two units: `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = int(duration)
    for (big, upper), (small, lower) in (
        ((86400, "d"), (3600, "h")),
        ((3600, "h"), (60, "min")),
        ((60, "min"), (1, "s")),
    ):
        if whole >= big:
            rest = whole % big // small
            return f"{whole // big} {upper}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"


def ago(duration: float) -> str:
    """How long ago, as a person says it: `just now`, `5 minutes ago`, `3 days ago`; at most 14 characters."""
    for unit, name in ((31557600, "year"), (2629800, "month"), (86400, "day"), (3600, "hour"), (60, "minute")):
        if duration >= (2 * unit if name == "month" else unit):
            return f"{some(int(duration // unit), name)} ago"
    return "just now"


def some(number: int, noun: str) -> str:
    """`1 blob`, `2 blobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    """`0%` and `100%` only when it is exactly that: a file that lacks one byte is not there."""
    if part >= whole:
        return "100%"
    return f"{min(99, max(1, 100 * part // whole))}%" if part > 0 else "0%"


def elide(text: str, width: int) -> str:
    """At most `width` characters; the middle goes first, because both ends of a path tell files apart."""
    if len(text) <= width:
        return text
    if width <= 1:
        return text[:width]
    head = (width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
