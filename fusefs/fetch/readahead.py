"""Read-ahead: how far to fetch ahead of a sequential reader.  Pure policy: reads in, a byte range out.

Streams are found per file, not per handle: page faults of a mapping carry no useful handle, and the kernel sends the
requests of one reader out of order.  Random access never starts a stream.
"""

from __future__ import annotations

from dataclasses import dataclass

from fusefs.config import MIB

SMALLEST_WINDOW = 8 * MIB
"""The window of a stream that has just been recognised; it doubles as the reader moves on."""

_PATIENCE = 4 * MIB
"""Bytes read in order before a stream is believed: one tensor or one header is often shorter, and whoever reads just
that should not pay for what lies behind it."""

_SLACK = 2 * MIB
"""How far from a stream's end a read may begin and still belong to it: the kernel has several requests in flight and
sends them in any order."""

_STREAMS = 16
"""Streams remembered per file; the one least recently used is forgotten."""


@dataclass(slots=True)
class _Stream:
    """One sequential reader: it began at `start`, has read up to `end`, and all up to `ahead` is on its way.

    `taken` counts what it has asked for, which is less than lies between when it jumps, and more when it reads again.
    """

    start: int
    end: int
    ahead: int
    window: int = 0
    taken: int = 0


class ReadAhead:
    """The sequential readers of one file of `size` bytes; windows grow to `largest` bytes."""

    def __init__(self, size: int, largest: int) -> None:
        self._size = size
        self._largest = largest
        self._streams: list[_Stream] = []

    def observe(self, off: int, size: int, rate: float) -> range:
        """Take note of a read of [off, off+size) and say which bytes to fetch ahead of it.

        Args:
            off: offset in bytes.
            size: length in bytes.
            rate: measured bandwidth in bytes per second; a window is at most about a second of it.

        Returns:
            The bytes to have next, often none; what was said before is not said again.
        """
        stream = self._stream_of(off, off + size)
        stream.taken += size
        if min(stream.end - stream.start, stream.taken) < _PATIENCE:
            return range(0)
        half_used = stream.ahead - stream.end <= stream.window // 2
        if stream.window and not half_used:
            return range(0)
        most = int(min(self._largest, max(SMALLEST_WINDOW, rate)))
        stream.window = min(most, stream.window * 2 or SMALLEST_WINDOW)
        start = max(stream.ahead, stream.end)
        stop = min(self._size, stream.end + stream.window)
        stream.ahead = max(stream.ahead, stop)
        return range(start, stop) if start < stop else range(0)

    def _stream_of(self, off: int, end: int) -> _Stream:
        """The stream that this read continues, or a new one; it becomes the most recently used."""
        # The one used last first: a reader that comes past where others have been stays the reader that it is.
        for i in reversed(range(len(self._streams))):
            stream = self._streams[i]
            if stream.end - max(_SLACK, end - off) <= off <= stream.end + _SLACK:
                stream.end = max(stream.end, end)
                self._streams.append(self._streams.pop(i))
                return stream
        stream = _Stream(off, end, end)
        self._streams.append(stream)
        del self._streams[:-_STREAMS]
        return stream
