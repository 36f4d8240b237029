"""Start: in what order the bytes of a blob were first wanted, and the form in which that is kept.

An access trace is a hint for the next cold load: it may cost bytes, never correctness.  Little-endian: `magic (16) |
fingerprint (32) | start, stop (u64 each) of every range`.  The fingerprint covers digest and size of the blob and the
ranges, so that a torn, rotten or foreign file is noticed; it keeps nobody from writing one on purpose, and so the
ranges are checked as well.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from fusefs.errors import InvalidTrace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.values.chunks import Blob

_MAGIC = b"fusefs-start  1\n"
_HEAD = len(_MAGIC) + hashlib.sha256().digest_size

MAX_RANGES = 1 << 14
"""Ranges of a trace: 16 GiB in 1 MiB chunks when no two that follow each other are neighbours."""

MAX_PACKED_SIZE = _HEAD + 16 * MAX_RANGES
"""Bytes (256 KiB); no valid file is longer."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Byte ranges of one blob in the order in which they were first wanted.

    Attributes:
        ranges: `[start, stop)`, none empty, at most `MAX_RANGES`, together no longer than the blob.
    """

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> Self:
        """Join each range with the one before where it goes on, and keep the first `MAX_RANGES`.

        The beginning of a load is what a reader waits for; what comes later is found by ordinary read-ahead.
        """
        joined: list[tuple[int, int]] = []
        for start, stop in ranges:
            if joined and joined[-1][1] == start:
                joined[-1] = joined[-1][0], stop
            elif len(joined) == MAX_RANGES:
                break
            elif start < stop:
                joined.append((start, stop))
        return cls(tuple(joined))


def pack(blob: Blob, trace: Trace) -> bytes:
    """The bytes to keep.

    Raises:
        InvalidTrace: its ranges are none of this blob, or too many.
    """
    _check(blob, trace)
    body = _swapped(array("Q", (off for pair in trace.ranges for off in pair))).tobytes()
    return b"".join((_MAGIC, _fingerprint(blob, body), body))


def unpack(blob: Blob, data: bytes) -> Trace:
    """Read what `pack` wrote for the same blob.

    Raises:
        InvalidTrace: another format, torn, rotten, of another blob, or longer than any that is kept.
    """
    body = data[_HEAD:]
    if len(data) < _HEAD or len(body) % 16 or data[: len(_MAGIC)] != _MAGIC:
        raise InvalidTrace("access trace: another format, or torn")
    if _fingerprint(blob, body) != data[len(_MAGIC) : _HEAD]:
        raise InvalidTrace("access trace: of another blob, or its bytes have changed")
    offs = _swapped(array("Q", body))
    trace = Trace(tuple(zip(offs[::2], offs[1::2], strict=True)))
    _check(blob, trace)
    return trace


def _check(blob: Blob, trace: Trace) -> None:
    """Each range lies in the blob; all together are no more bytes than it has, or a replay could go on for ever."""
    if len(trace.ranges) > MAX_RANGES:
        raise InvalidTrace(f"access trace: {len(trace.ranges)} ranges, at most {MAX_RANGES} are kept")
    left = blob.size
    for begin, stop in trace.ranges:
        left -= stop - begin
        if not 0 <= begin < stop <= blob.size or left < 0:
            raise InvalidTrace(f"access trace: {begin}-{stop} is no range that was first wanted then")


def _swapped(offs: array[int]) -> array[int]:
    if sys.byteorder == "big":
        offs.byteswap()
    return offs


def _fingerprint(blob: Blob, body: bytes) -> bytes:
    return hashlib.sha256(b"%s %d\n" % (blob.digest.key, blob.size) + body).digest()
