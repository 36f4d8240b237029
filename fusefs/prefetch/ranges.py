"""Ranges: a set of numbers (byte offsets, chunk indices) kept as ranges.  Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Ranges:
    """Rising ranges that neither overlap nor touch; `len` is their count."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, new: range) -> list[range]:
        """Add all of `new`; the parts of it that were not there before, in order."""
        start, stop = new.start, new.stop
        if start >= stop:
            return []
        starts, stops = self._starts, self._stops
        # All that overlap or touch: from the first that ends at `start` or later to the last that starts at `stop`.
        first = bisect_left(stops, start)
        last = bisect_right(starts, stop, lo=first)
        if first == last:
            starts.insert(first, start)
            stops.insert(first, stop)
            return [new]
        if starts[first] <= start and stop <= stops[first]:
            return []
        fresh = []
        at = start
        for i in range(first, last):
            if at < starts[i]:
                fresh.append(range(at, starts[i]))
            at = max(at, stops[i])
        if at < stop:
            fresh.append(range(at, stop))
        starts[first:last] = [min(start, starts[first])]
        stops[first:last] = [max(stop, stops[last - 1])]
        return fresh

    def clear(self) -> None:
        """Forget all of them."""
        self._starts.clear()
        self._stops.clear()
