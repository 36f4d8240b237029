"""Tensors: what a reader of a file wants whose tensors are known.  Pure policy: a program wants a tensor whole.

What it has to tell apart, when reads are all it sees
    A tensor is *touched* by a read of which the `middle` lies in it: a page fault of a mapping arrives as a request
    for the pages on both sides of it, and one side may be another tensor.
    The kernel reads ahead of who reads in order, up to two of its windows past the end of what he wants.  So a run of
    reads that comes out of one tensor has touched the next one only when it is `_BEYOND` in it.
    A small read that stands alone is somebody who looks something up, and touches nothing.

Neighbours in file order are fetched before they are touched only with evidence: for a run that has crossed from one
tensor into the next as for any sequential reader; else with credit, which is earned where tensors are touched in file
order, and spent by fetching the next one early.  Who touches tensors in random order earns next to none.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from fusefs.prefetch.streams import PAGE, Stream, middle
from fusefs.values.settings import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.formats.extents import Extents
    from fusefs.prefetch.read import Read
    from fusefs.prefetch.sequential import Sequential

SMALL = 64 * KIB
"""A read below this that does not go on where another was may be somebody who looks at one page."""

_BEYOND = MIB
"""More than two windows of the kernel: 256 KiB each, and twice that for who asks for POSIX_FADV_SEQUENTIAL."""

_BEFORE = 4
"""Tensors touched last; the neighbour of one of them is touched in file order."""

_EARNED = 4
"""A tensor touched in file order earns this part of its size: so many are seen before one is guessed, and a reader
who disappoints each time costs no more than this part of what he reads."""

_LOOKED_AT = 64
"""Neighbours looked at for the next one to guess: there may be 100,000 small ones, and this runs for each touch."""


@dataclass(slots=True)
class _Course:
    """What a stream has done among the tensors.

    Attributes:
        run: of the stream, that all the rest is about.
        pauses: of those in this run that were taken note of.
        origin: the byte that it set out from in the tensor where it is.
        paused: others have read much since.
        crossed: it has gone from one tensor into the next.
    """

    run: int
    pauses: int
    origin: int
    paused: bool
    crossed: bool = False

    @classmethod
    def of(cls, stream: Stream) -> _Course:
        return cls(stream.run, stream.pauses, stream.origin, paused=stream.pauses > 0)


def _shifted(offsets: Sequence[int], by: int) -> Sequence[int]:
    return array("Q", (by + off for off in offsets)) if by else offsets


class Tensors:
    """The tensors of one file, and which of them were touched; `largest` bytes are wanted at once at most.

    Args:
        extents: where they are, from the beginning of the file.
        file: where in its blob the file lies.
        largest: bytes.
        windows: of readers who go through the blob in order.
        credit: neighbours may be fetched before they are touched.
    """

    def __init__(
        self, extents: Extents, file: range, largest: int, windows: Sequential, *, credit: bool = True
    ) -> None:
        self._on_credit = credit
        self._windows = windows
        self._courses: WeakKeyDictionary[Stream, _Course] = WeakKeyDictionary()
        self._starts, self._stops = _shifted(extents.starts, file.start), _shifted(extents.stops, file.start)
        self._file = file
        self._largest = largest
        self._touched = bytearray(len(extents))
        self._latest: deque[int] = deque(maxlen=_BEFORE)
        self._guessed: dict[int, int] = {}
        self._credit = 0

    def observe(self, read: Read) -> list[range]:
        """What of the tensors is wanted for a read, and behind that the window of its reader."""
        course = self._course_of(read.stream)
        ranges = self._touch(read, course)
        within = self._bounds(read, course)
        if within is None:
            return ranges
        return ranges + self._windows.window(read, within, trusted=not course.crossed)

    def _course_of(self, stream: Stream) -> _Course:
        course = self._courses.get(stream)
        if course is None or course.run != stream.run:
            course = self._courses[stream] = _Course.of(stream)
        elif course.pauses != stream.pauses:
            course.pauses, course.paused, course.crossed = stream.pauses, True, False
        return course

    def _touch(self, read: Read, course: _Course) -> list[range]:
        """Take note of a read; the tensor that it touches for the first time, and those that its credit buys."""
        off, size, stream = read.off, read.size, read.stream
        wanted = middle(off, size)
        index = bisect_right(self._starts, wanted) - 1
        if index > 0 and wanted - self._starts[index] < PAGE and self._touched[index - 1]:
            end = self._stops[index - 1] - 1
            if wanted - end < PAGE:
                # The page holds the end of a tensor that is being read, too: copying touches both ends of it first.
                if course.origin == wanted:
                    course.origin = end
                return []
        if index < 0 or wanted >= self._stops[index] or not self._entered(index, wanted, stream, course):
            return []
        if self._touched[index]:
            return []
        if not self._latest or self._latest[-1] != index:
            self._latest.append(index)
        if size < SMALL and (stream.gap is None or stream.gap > SMALL or stream.extent == size):
            return []  # alone, or the same again
        self._touched[index] = 1
        credit = self._earn(index, read.most)
        start, stop = self._starts[index], self._stops[index]
        if read.tight or stop - start > self._largest:
            return []  # a window of it at a time
        ranges = [range(off + size, stop), range(start, off)]
        if credit and self._on_credit and not course.crossed:
            ranges += self._guess(index, read.most)
        return [one for one in ranges if one]

    def _bounds(self, read: Read, course: _Course) -> range | None:
        """How far the window of the reader may reach; None: it has none."""
        if course.crossed:
            return self._file
        index = bisect_right(self._starts, middle(read.off, read.size)) - 1
        if index < 0 or not self._touched[index]:
            return None
        start, stop = self._starts[index], self._stops[index]
        return range(start, stop) if read.tight or stop - start > self._largest else None

    def _entered(self, index: int, wanted: int, stream: Stream, course: _Course) -> bool:
        """False while `stream` may be in tensor `index` only because the kernel reads ahead of who reads another."""
        origin = bisect_right(self._starts, course.origin) - 1
        if origin == index or course.crossed:
            return True
        beyond = stream.high - self._starts[origin + 1] if origin < index else self._starts[origin] - stream.low
        if beyond < _BEYOND:
            return False
        # Who has read the header and goes on has not said yet that he wants more than the first tensor.  Nor has who
        # read something else between two tensors: in random order, too, the neighbour's turn comes at some time.
        course.crossed = origin >= 0 and not course.paused
        course.origin, course.paused = wanted, False
        return True

    def _earn(self, index: int, most: int) -> bool:
        """Pay for tensor `index`, touched just now; True when it was touched in file order."""
        paid = self._guessed.pop(index, 0)
        in_order = paid > 0 or index - 1 in self._latest
        if paid:
            self._credit += 2 * paid
        elif in_order:
            self._credit += (self._stops[index] - self._starts[index]) // _EARNED
        self._credit = min(self._credit, most)
        return in_order

    def _guess(self, index: int, most: int) -> list[range]:
        """The tensors in the `most` bytes behind `index` that the credit buys."""
        ranges = []
        for other in range(index + 1, min(index + 1 + _LOOKED_AT, len(self._touched))):
            if self._touched[other] or other in self._guessed:
                continue
            size = self._stops[other] - self._starts[other]
            if size > self._credit or self._stops[other] - self._stops[index] > most:
                break
            self._credit -= size
            self._guessed[other] = size
            ranges.append(range(self._starts[other], self._stops[other]))
        return ranges
