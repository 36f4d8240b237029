"""Extents: where the tensors of one model file lie.

Only a hint for whoever decides what to fetch: it came out of a header that is hostile until its chunk is proved, and
an honest one may be older or newer than this code.  It may cost bytes, never correctness.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Extents:
    """The tensors of a file that hold at least one byte, in order of offset; no two overlap.

    Attributes:
        header: bytes before the first place where a tensor's data may lie.
        starts: offset in the file of each tensor's first byte, rising.
        stops: offset just behind each tensor's last byte; none lies behind the end of the file.
    """

    header: int
    starts: Sequence[int]
    stops: Sequence[int]

    @classmethod
    def of(cls, header: int, ranges: Iterable[tuple[int, int]]) -> Self:
        """Pack `[start, stop)` ranges that rise and do not overlap."""
        starts, stops = array("Q"), array("Q")
        for start, stop in ranges:
            starts.append(start)
            stops.append(stop)
        return cls(header, starts, stops)

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, off: int) -> int | None:
        """The index of the tensor that holds byte `off`; None for the header, padding and what lies outside."""
        index = bisect_right(self.starts, off) - 1
        return index if index >= 0 and off < self.stops[index] else None
