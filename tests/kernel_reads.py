"""Kernel: the requests that the kernel sends to a FUSE server when pages of a mapping are touched.

After mm/filemap.c and mm/readahead.c: a page that is not there is read together with its window on both sides
(read-around); a mark in the last quarter of that window, when touched, has the next window read ahead, whose mark is
its first page.  `tests/mount` holds that a real kernel is not worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096


class Kernel:
    """The page cache of one file of `size` bytes, with a read-ahead window of `window` bytes."""

    def __init__(self, size: int, window: int = 256 << 10) -> None:
        self._size = size
        self._pages = -(-size // PAGE)
        self._window = window // PAGE
        self._cached = bytearray(self._pages)
        self._mark = -1
        self._next = 0

    def touch(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Touch the bytes [start, stop) in order; offset and size of each request that this causes."""
        for page in range(start // PAGE, -(-stop // PAGE)):
            if not self._cached[page]:
                first = max(0, page - self._window // 2)
                self._next = first + self._window
                self._mark = self._next - self._window // 4
                yield from self._read(first, self._next)
            elif page == self._mark:
                self._mark = self._next
                self._next += self._window
                yield from self._read(self._mark, self._next)

    def _read(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Requests for those of the pages that are not there, neighbours in one."""
        stop = min(stop, self._pages)
        page = first
        while page < stop:
            if self._cached[page]:
                page += 1
                continue
            begin = page
            while page < stop and not self._cached[page]:
                self._cached[page] = 1
                page += 1
            off = begin * PAGE
            yield off, min(page * PAGE, self._size) - off
