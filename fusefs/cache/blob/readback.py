"""ReadBack: what the running hash lacks, read from the disk into memory that is used again.

A piece of fresh memory costs a page fault for each of its pages, and so does a page of the page cache.  Together they
cost more than hashing what is in them.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from fusefs.system.files import PIECE

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.cache.blob.direct import DirectFile


class ReadBack:
    """Of one blob; one thread at a time, which the lock of its hash sees to.

    Args:
        direct: reads past the page cache; None where there is no file.
        pread: reads the usual way, and says what is wrong.
    """

    def __init__(self, direct: DirectFile | None, pread: Callable[[int, int], bytearray]) -> None:
        self._direct = direct
        self._pread = pread
        self._memory: mmap.mmap | None = None

    def read(self, off: int, size: int) -> memoryview | bytearray:
        """`size` bytes from `off`, at most `PIECE`; good until the next call.  Blocking.

        Raises:
            CacheError: they cannot be read.
        """
        if self._direct is not None:
            if self._memory is None:
                self._memory = mmap.mmap(-1, PIECE)
            view = memoryview(self._memory)[:size]
            if self._direct.read(view, off):
                return view
        return self._pread(off, size)

    def end(self) -> None:
        """Let go of the memory, until something is read again."""
        self._memory = None
