"""Strides: what a reader wants next who reads a little, jumps, reads a little, each time as far.  Pure policy.

Columns of a matrix are read like that, and a sample of a file.  Jumps of any other kind say nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

_PAGE = 4096
"""The kernel reads whole pages: a jump that is no multiple of one looks a page longer or shorter at times."""

_ENOUGH = 3
"""Equal jumps in a row before the next ones are believed: two happen by chance."""

_MOST = 16
"""Places fetched ahead at most; at first as many as there were equal jumps."""

_LATEST = 3
"""Places from which a jump may have come: so many readers that jump may take turns."""

_EXPECTED = 32
"""Places remembered where somebody may read next; the oldest is forgotten."""


@dataclass(slots=True)
class _Walker:
    """Somebody who jumps: from `first`, `seen` times so far, `length` bytes at a time."""

    first: int
    off: int
    length: int
    seen: int = 1
    said: int = 0

    @property
    def step(self) -> float:
        return (self.off - self.first) / self.seen


class Strides:
    """The strided readers of one file of `size` bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._expected: OrderedDict[int, _Walker] = OrderedDict()
        self._latest: deque[int] = deque(maxlen=_LATEST)
        self._run = (0, 0)

    def observe(self, off: int, size: int, *, jump: bool, most: int) -> list[range]:
        """Take note of a read of [off, off+size) and say which bytes the reader wants at its next places.

        Args:
            off: offset in bytes.
            size: length in bytes.
            jump: nobody has read just before `off`.
            most: bytes to want together at most.

        Returns:
            The places that were not said before, the next one first.
        """
        start, end = self._run
        if not jump:
            if start <= off <= end:  # a place may be read in several requests
                self._run = start, max(end, off + size)
            return []
        self._run = off, off + size
        walker = self._take(off // _PAGE)
        if walker is None:
            for before in self._latest:
                if abs(off - before) > _PAGE:
                    self._expect(_Walker(before, off, size))
            self._latest.append(off)
            return []
        self._latest.append(off)
        if start == walker.off:
            walker.length = max(walker.length, end - start)
        walker.off = off
        walker.length = max(walker.length, size)
        walker.seen += 1
        walker.said = max(0, walker.said - 1)
        self._expect(walker)
        return self._next_places(walker, most) if walker.seen >= _ENOUGH else []

    def _take(self, page: int) -> _Walker | None:
        for near in (page, page - 1, page + 1):
            walker = self._expected.pop(near, None)
            if walker is not None:
                return walker
        return None

    def _expect(self, walker: _Walker) -> None:
        page = round(walker.off + walker.step) // _PAGE
        if 0 <= page <= self._size // _PAGE:
            self._expected[page] = walker
            if len(self._expected) > _EXPECTED:
                self._expected.popitem(last=False)

    def _next_places(self, walker: _Walker, most: int) -> list[range]:
        step = walker.step
        length = min(walker.length + _PAGE, max(_PAGE, int(abs(step))))
        count = min(walker.seen, _MOST, max(1, most // length))
        words = []
        for number in range(walker.said + 1, count + 1):
            off = round(walker.off + number * step)
            if not 0 <= off < self._size:
                break
            words.append(range(off, min(off + length, self._size)))
            walker.said = number
        return words
