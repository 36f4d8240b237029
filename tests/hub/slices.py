"""Slices: parts of a body as HTTP has them, one or several in an answer."""

from __future__ import annotations

import re

from tests.wire_faults import Answer

_BOUNDARY = "scripted-hub-boundary"


def spans_of(header: str, size: int) -> list[tuple[int, int]] | None:
    """The ranges (inclusive) of a `Range` header, as far as a body of `size` bytes has them; None if it is none."""
    if not re.fullmatch(r"bytes=((\d+-\d*|-\d+)(, *(?!$)|$))+", header):
        return None
    found = []
    for text in header.removeprefix("bytes=").split(","):
        start, _, end = text.strip().partition("-")
        first = int(start) if start else max(0, size - int(end))
        last = min(int(end), size - 1) if start and end else size - 1
        if first <= last:
            found.append((first, last))
    return found


def sliced(data: bytes, header: str, headers: dict[str, str]) -> Answer:
    """The answer to a request for `data` with this `Range` header, which may be empty."""
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    spans = spans_of(header, len(data))
    if spans is None:
        return Answer(200, data, headers, whole=data)
    if not spans:
        return Answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
    if len(spans) == 1:
        ((first, last),) = spans
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Answer(206, data[first : last + 1], headers, whole=data)
    parts = [
        f"--{_BOUNDARY}\r\nContent-Range: bytes {first}-{last}/{len(data)}\r\n\r\n".encode()
        + data[first : last + 1]
        + b"\r\n"
        for first, last in spans
    ]
    headers["Content-Type"] = f"multipart/byteranges; boundary={_BOUNDARY}"
    return Answer(206, b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode(), headers, whole=data)
