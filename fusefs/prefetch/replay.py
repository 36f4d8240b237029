"""Replay: ahead of a reader who loads a blob as somebody did before, in the order that was recorded.  Pure policy."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusefs.prefetch.read import Read
    from fusefs.values.trace import Trace

_MISSES = 8
"""Reads in a row that are not where the record has the reader: from then on it is another load.

A few are the same load with its threads in another order, or somebody else who looks into the file.
"""


class Replay:
    """The place of a reader in an access trace, and the part of it that was returned.

    Attributes:
        over: it has nothing more to say: the record is at its end, or the reader left its order.
        left: the reader left its order.
    """

    def __init__(self, trace: Trace) -> None:
        self._ranges = trace.ranges
        self._ends = list(accumulate(stop - begin for begin, stop in trace.ranges))
        self._order = sorted(range(len(self._ranges)), key=self._ranges.__getitem__)
        self._begins = [self._ranges[i][0] for i in self._order]
        # Both count bytes of the record: how far the reader has come, and how far it was returned.
        self._place = 0
        self._returned = 0
        self._misses = 0
        self.over = not self._ranges
        self.left = False

    def observe(self, read: Read) -> list[range] | None:
        """The bytes to have next, in the order of the record; None when the read is not where the record has it."""
        if self.over:
            return None
        place, lead = self._find(read.off, read.size), read.most
        if place is None or place > max(self._place, self._returned) + lead:
            self._misses += 1
            if self._misses >= _MISSES:
                self.over = self.left = True
            return None
        if place > self._place:
            self._place = place
            self._misses = 0
        if self._place == self._ends[-1]:
            self.over = True
        return self._next_ranges(lead)

    def _next_ranges(self, lead: int) -> list[range]:
        # What the reader has passed over is returned, too: its threads may come back for it, as they did before.
        if self._returned - self._place > lead // 2:
            return []  # in large pieces, so that neighbours become one request
        stop = min(self._place + lead, self._ends[-1])
        ranges = []
        while self._returned < stop:
            index = bisect_right(self._ends, self._returned)
            end = self._ranges[index][1] - (self._ends[index] - min(stop, self._ends[index]))
            begin = self._ranges[index][1] - (self._ends[index] - self._returned)
            ranges.append(range(begin, end))
            self._returned += end - begin
        return ranges

    def _find(self, off: int, size: int) -> int | None:
        """Bytes of the record up to the end of a read; None when neither its first nor its last byte is in it."""
        for at, rest in ((off, size), (off + size - 1, 1)):
            found = bisect_right(self._begins, at) - 1
            if found >= 0:
                index = self._order[found]
                stop = self._ranges[index][1]
                if at < stop:
                    return min(self._ends[index], self._ends[index] - (stop - at) + rest)
        return None
