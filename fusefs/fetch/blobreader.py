"""BlobReader: the proved bytes of a blob for a thread that looks for something in it, the table of an archive.

What is read is fetched in windows: small where the reader jumps from header to header of large files, larger and larger
where it goes on close behind.  No policy of prefetch is told, for nobody reads the files yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from fusefs.errors import ChunkGone, ReadTimeout
from fusefs.values.settings import KIB, MIB

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.fetcher import Fetcher

_FIRST = 256 * KIB
_LARGEST = 32 * MIB
_GROWTH = 4
_NEAR = MIB
"""Bytes behind a window in which the next read goes on, rather than jumps."""

_PIECE = 4 * MIB
"""Bytes that are in memory at most."""


class BlobReader:
    """Of one blob, for one thread that trio has started.

    Args:
        fetcher: which must be running.
        fetch: the blob, with its origins.
    """

    def __init__(self, fetcher: Fetcher, fetch: BlobFetch) -> None:
        self._fetcher = fetcher
        self._fetch = fetch
        self._start = 0
        self._data = b""
        self._window = 0
        self._had = range(0)

    def read_at(self, off: int, size: int) -> bytes:
        """The bytes [off, off+size), clipped to the end of the blob.  Blocking, in a thread of trio's.

        Raises:
            FusefsError: they cannot be had, or not be proved.
        """
        stop = min(off + size, self._fetch.blob.size)
        if off >= stop:
            return b""
        if not self._start <= off <= stop <= self._start + len(self._data):
            self._data = trio.from_thread.run(self._read, off, stop)
            self._start = off
        return self._data[off - self._start : stop - self._start]

    async def _read(self, off: int, stop: int) -> bytes:
        if stop > self._had.stop or off < self._had.start:
            near = self._window and 0 <= off - self._had.stop <= max(self._window, _NEAR)
            self._window = min(self._window * _GROWTH, _LARGEST) if near else _FIRST
            self._had = range(off, min(max(stop, off + self._window), self._fetch.blob.size))
        fetcher, fetch = self._fetcher, self._fetch
        with trio.move_on_after(fetcher.timeout) as scope, fetch.reading(off, self._had.stop, scope):
            while True:
                chunker = await fetcher.open(fetch)
                evictions = chunker.usage.evictions
                missing = chunker.lacking(chunker.chunks.covering(self._had.start, len(self._had)))
                if missing:
                    await fetcher.ensure(fetch, chunker, missing, scope)
                    continue
                # To the end of its last chunk all is here.
                last = chunker.chunks.covering(self._had.stop - 1, 1)
                self._had = range(self._had.start, chunker.chunks.extent(last).stop)
                data = await self._pread(chunker, off, max(stop, min(self._had.stop, off + _PIECE)) - off)
                if data is not None and chunker.usage.evictions == evictions:
                    return data
        raise ReadTimeout(f"{fetch.blob.digest.short}…: bytes {off}-{stop - 1} took over {fetcher.timeout:g} s")

    async def _pread(self, chunker: Chunker, off: int, size: int) -> bytes | None:
        try:
            return bytes(await self._fetcher.threads.run(chunker.pread, off, size))
        except ChunkGone:
            return None
