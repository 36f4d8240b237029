"""SecondCopy: which pages of a sealed file the page cache of the mount has, too.

What was read of a mounted file lies in the mount's page cache already: the sealed file's own copy of it is memory spent
twice.  A block may be let go of when all of it was read, in whatever order: the kernel has several requests of one
reader under way, several threads answer them, and each may be late.
"""

from __future__ import annotations

from array import array

from fusefs.values.settings import MIB

_BLOCK = MIB
_PAGE = 4096

_AT_ONCE = 8
"""Blocks that are let go of together: to do so takes a thread."""


_LATELY = 64
"""Of so many blocks that were let go of last none is read ahead: streams that were told apart by chance overlap."""


class SecondCopy:
    """Of one file of `size` bytes.  The caller sees to it that one thread at a time is here."""

    def __init__(self, size: int) -> None:
        self._count = -(-size // _BLOCK)
        self._size = size
        self._read: array[int] | None = None  # pages of each block; a file that nobody reads needs none
        self._whole: list[int] = []
        self._gone: dict[int, None] = {}  # the last ones

    def read(self, off: int, size: int) -> list[range]:
        """Take note of a read of [off, off+size); the byte ranges to let go of now, often none, each once."""
        if self._read is None:
            self._read = array("H", bytes(2 * self._count))
        stop = off + size
        for block in range(off // _BLOCK, -(-stop // _BLOCK)):
            start, end = block * _BLOCK, min((block + 1) * _BLOCK, self._size)
            pages = self._read[block] - (-(min(stop, end) - max(off, start)) // _PAGE)
            if pages >= -(-(end - start) // _PAGE):
                pages = 0  # its pages may come again, as those of a second reader
                self._whole.append(block)
            self._read[block] = pages
        # Nobody comes behind the last ones.
        if len(self._whole) < _AT_ONCE and not (self._whole and self._whole[-1] >= self._count - _AT_ONCE):
            return []
        whole, self._whole = sorted(self._whole), []
        for block in whole:
            self._gone.pop(block, None)
            self._gone[block] = None
        for block in list(self._gone)[:-_LATELY]:
            del self._gone[block]
        return _runs(whole)

    def lacking(self, ahead: range) -> list[range]:
        """The part of a byte range to read ahead that was not read, and let go of, a moment ago."""
        if not ahead:
            return []
        blocks = range(ahead.start // _BLOCK, -(-ahead.stop // _BLOCK))
        runs = _runs([block for block in blocks if block not in self._gone])
        return [range(max(run.start, ahead.start), min(run.stop, ahead.stop)) for run in runs]


def _runs(blocks: list[int]) -> list[range]:
    """Blocks, rising, as ranges of bytes."""
    found: list[range] = []
    for block in blocks:
        start, stop = block * _BLOCK, (block + 1) * _BLOCK
        if found and found[-1].stop >= start:
            found[-1] = range(found[-1].start, stop)
        else:
            found.append(range(start, stop))
    return found
