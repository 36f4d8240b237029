"""The Range, If-Range and If-None-Match headers (RFC 9110, sections 13 and 14), for one representation."""

from __future__ import annotations

import re

from fusefs.values.chunks import Chunk

# Possessive: blanks that are given back one by one cost as many steps as the square of their number.
_ONE_RANGE = re.compile(
    r"bytes[ \t]*+=[ \t,]*+([0-9]{0,19})[ \t]*+-[ \t]*+([0-9]{0,19})[ \t,]*+", re.IGNORECASE | re.ASCII
)


class Unsatisfiable(Exception):
    """The range begins behind the last byte."""


def requested_range(header: str | None, size: int) -> Chunk | None:
    """The bytes that a Range header asks for, clipped to the `size` bytes that there are.

    Returns:
        None to send everything: no header, not the form of one, or several ranges (which a server may ignore).

    Raises:
        Unsatisfiable: no byte of it exists.
    """
    match = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size - 1
    elif last and int(last) < int(first):
        return None
    else:
        start, end = int(first), min(int(last) if last else size - 1, size - 1)
    if start >= size:
        raise Unsatisfiable
    return Chunk(start, end)


def matches(header: str | None, etag: str) -> bool:
    """True when an If-None-Match header names `etag`; weak tags count, as RFC 9110 says."""
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag in tags
