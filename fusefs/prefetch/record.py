"""Record: in what order the chunks of a blob are wanted for the first time, while it is loaded cold.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.prefetch.ranges import Ranges
from fusefs.values.settings import MIB
from fusefs.values.trace import MAX_RANGES, Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.values.chunks import ChunkList

_SHORTEST = 4
"""Chunks below which a record is not worth a file: somebody has looked at the header."""

_GROWTH = 8 * MIB
"""A record is kept when it is this long, and again whenever it has become twice as long."""


class Record:
    """One cold load of a blob with these chunks, noted chunk by chunk, whether the chunk was there already or not.

    Which record stays, when one was kept of an earlier load: the longer one.  Except that a load which left the order
    of the kept one needs only half of its length: the program, or what is asked of it, has changed.
    """

    def __init__(self, chunks: ChunkList, kept: Trace | None) -> None:
        self._chunks = chunks
        self._kept = 0 if kept is None else _total(kept)
        self._seen = Ranges()
        self._order: list[range] = []
        self._count = 0
        self._bytes = 0
        self._saved = 0
        self._looked = 0

    def note(self, off: int, size: int) -> None:
        """Somebody has asked for [off, off+size)."""
        for new in self._seen.add(self._chunks.covering(off, size)):
            order = self._order
            if order and order[-1].stop == new.start:
                order[-1] = range(order[-1].start, new.stop)
            elif len(order) < MAX_RANGES:
                order.append(new)
            else:
                return  # its beginning is what the next reader waits for
            self._count += len(new)
            self._bytes += len(self._chunks.extent(new))

    @property
    def grown(self) -> bool:
        """True when it is so much longer than when it was looked at last that it should be kept meanwhile."""
        return self._bytes >= max(_GROWTH, 2 * self._looked)

    def unsaved(self, *, left: bool) -> Trace | None:
        """The access trace to keep in place of the one that was kept; None when that one stays, or nothing has changed.

        Args:
            left: the load has left the order of the trace that was kept.
        """
        self._looked = self._bytes
        needed = self._kept // 2 if left else self._kept
        if self._bytes in (self._saved, 0) or self._bytes <= needed or self._count < _SHORTEST:
            return None
        return Trace.of(_byte_ranges(self._chunks, self._order))

    def saved(self, trace: Trace) -> None:
        """What `unsaved` gave is on the disk, or the disk does not take it."""
        self._saved = _total(trace)


def _byte_ranges(chunks: ChunkList, order: Sequence[range]) -> list[tuple[int, int]]:
    extents = map(chunks.extent, order)
    return [(extent.start, extent.stop) for extent in extents]


def _total(trace: Trace) -> int:
    return sum(stop - begin for begin, stop in trace.ranges)
