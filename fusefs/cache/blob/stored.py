"""StoredBlob: what the cache has of one blob, and the one way that bytes come out of it.

Knows the chunk map, the file and the memory.  `fusefs.cache.blob.chunker` adds how bytes get in.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fusefs.cache.blob.mapfile import CLAIMED, SERVED
from fusefs.cache.blob.presence import bytes_on_disk
from fusefs.cache.blob.state import PROVED, BlobState
from fusefs.cache.blob.usage import Usage
from fusefs.errors import CacheError, ChunkGone
from fusefs.system.files import disk_errors, preadv_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.cache.blob.chunkmap import ChunkMap
    from fusefs.cache.blob.setup import BlobSetup


class StoredBlob(BlobState):
    """One per blob and process.

    Attributes:
        blob: digest and size.
        place: where its files lie.
        fd: of the data; -1 when the disk has no room even for an empty file, and all lives in memory.
        spills: chunks were kept in memory, which may leave it between `missing` and `pread`.
        memory: what of this and other blobs is not only on disk.
        usage: when each chunk was used, and who reads it now.
    """

    def __init__(self, setup: BlobSetup, chunk_map: ChunkMap, fd: int, *, sealed: bool) -> None:
        super().__init__(setup, chunk_map, sealed=sealed)
        self.blob = setup.blob
        self.place = setup.place
        self.fd = fd
        self.spills = False
        self.memory = setup.memory
        self.usage = Usage(setup.chunks, chunk_map, readers=setup.readers)

    # What is here

    def missing(self, off: int, size: int) -> list[int]:
        """Chunks that cover [off, off+size) and cannot be served now: absent, or only claimed."""
        return self.lacking(self.chunks.covering(off, size))

    def lacking(self, indices: range) -> list[int]:
        """Those of some chunks that cannot be served now."""
        if self.by_whole:
            return list(indices)
        served = self.here if self.serve_unproved else PROVED
        return [i for i in indices if self.map[i] not in served and (self, i) not in self.memory.spill]

    def present(self, index: int) -> bool:
        """True when chunk `index` needs no fetching: it is proved, or has arrived to be proved with the whole."""
        return self.map[index] in self.here or (self, index) in self.memory.spill

    def claimed(self, index: int) -> bool:
        """True when chunk `index` only has to be hashed (`prove`) to be served."""
        return self.map[index] == CLAIMED and CLAIMED not in self.here

    @property
    def complete(self) -> bool:
        """True when every chunk is on disk, proved or to be proved with the whole."""
        return self.sealed or self.map.all_in(self.here)

    @property
    def present_bytes(self) -> int:
        """Bytes that are on disk, claims included."""
        return bytes_on_disk(self.blob.size, self.chunks.starts, self.map.states())

    def present_ranges(self) -> list[tuple[int, int]]:
        """Byte ranges [start, stop) that are on disk, claims included, in order."""
        return self.map.byte_ranges(self.chunks)

    # Getting bytes out

    def pread(self, off: int, size: int) -> bytes | bytearray:
        """Bytes [off, off+size) of chunks that are not `missing`, clipped to the blob.  Blocking when not in memory.

        Raises:
            CacheError: the file is shorter than it must be, or cannot be read; never a short read (P2).
        """
        stop = min(off + size, self.blob.size)
        if off >= stop:
            return b""
        self.usage.read(off, stop)
        self.usage.note()
        spilled = self._spilled(off, stop) if self.spills else None
        return self.pread_file(off, stop - off) if spilled is None else spilled

    def pread_nowait(self, off: int, size: int, covering: range | None = None) -> bytes | memoryview | None:
        """The same when it takes no disk access, else None.  Good until the next call; for the event loop alone.

        The caller may know already which chunks are `covering` the bytes.
        """
        stop = min(off + size, self.blob.size)
        if off >= stop:
            return b""
        if covering is None:
            covering = self.chunks.covering(off, stop - off)
        self.usage.used(covering)
        here: bytes | memoryview | None = self._spilled(off, stop) if self.spills else None
        if here is None and self.memory.recent:
            here = self._recent(off, stop, covering)
        if here is not None:
            return here
        buffer = self.memory.answer(stop - off)
        return buffer if self._read_at_once(off, buffer) else None

    def answer(
        self,
        off: int,
        size: int,
        covering: range,
        buffer: memoryview,
        still_right: Callable[[], bool],
        send: Callable[[bytes | bytearray | memoryview], None],
    ) -> bool:
        """Give `send` the bytes [off, off+size), if that takes no disk access.  For any thread.

        Args:
            off: first byte.
            size: in bytes.
            covering: the chunks that hold them; none of them is missing.
            buffer: room for them, the caller's alone.
            still_right: asked when the bytes are at hand.
            send: called once if they are, and are right; they are good until it returns.
        """
        # What is in memory for want of room on the disk may leave it at any time: the event loop sees to that.
        if self.spills and any(self.map[i] not in SERVED for i in covering):
            return False
        self.usage.used(covering)
        data = buffer[:size]
        loan = None
        if self.memory.recent and len(covering) == 1:
            start = self.chunks[covering.start].start
            loan = self.memory.recent.lend(self, covering.start, off - start, off - start + size)
        try:
            if loan is not None:
                data = loan.view
            elif not self._copied(off, covering, data) and not self._read_at_once(off, data):
                return False
            if not still_right():
                return False
            send(data)
            return True
        finally:
            if loan is not None:
                loan.give_back()

    def _copied(self, off: int, covering: range, into: memoryview) -> bool:
        """Whether all the bytes from `off` on, of several chunks, were in memory and are in `into` now."""
        if not self.memory.recent:
            return False
        stop = off + len(into)
        for i in covering:
            chunk = self.chunks[i]
            start, end = max(off, chunk.start), min(stop, chunk.stop)
            loan = self.memory.recent.lend(self, i, start - chunk.start, end - chunk.start)
            if loan is None:
                return False
            into[start - off : end - off] = loan.view
            loan.give_back()
        return True

    def _read_at_once(self, off: int, into: memoryview) -> bool:
        """Whether the bytes from `off` on were in the page cache and are in `into` now."""
        try:
            return os.preadv(self.fd, [into], off, os.RWF_NOWAIT) == len(into)
        except OSError:
            return False  # it would block, or this file system cannot say: a thread for that finds out

    def pread_file(self, off: int, size: int) -> bytearray:
        """The bytes as the disk has them, whatever the map says of them.  Blocking.

        Raises:
            CacheError: the file is shorter than it must be, or cannot be read.
        """
        buffer = bytearray(size)
        with disk_errors(self.place.data):
            got = preadv_all(self.fd, memoryview(buffer), off)
        if got != size:
            raise CacheError(f"{self.place.data}: ends at {off + got}, expected {self.blob.size}")
        return buffer

    def _spilled(self, off: int, stop: int) -> bytes | None:
        """Bytes [off, stop), some of which the disk does not have; None when it has all of them.

        Raises:
            ChunkGone: others needed the memory.
            CacheError: the disk cannot be read.
        """
        covering = self.chunks.covering(off, stop - off)
        kept = {i: data for i in covering if (data := self.memory.spill.get(self, i)) is not None}
        if not kept and all(self.map[i] in SERVED for i in covering):
            return None
        parts: list[bytes | bytearray] = []
        for i in covering:
            chunk = self.chunks[i]
            start, end = max(off, chunk.start), min(stop, chunk.stop)
            if i in kept:
                parts.append(kept[i][start - chunk.start : end - chunk.start])
            elif self.map[i] in SERVED:
                parts.append(self.pread_file(start, end - start))
            else:
                raise ChunkGone(f"{self.blob.digest.short}… chunk {chunk}: left memory before it was read")
        return b"".join(parts)

    def _recent(self, off: int, stop: int, covering: range) -> bytes | memoryview | None:
        """Bytes [off, stop) that were fetched a moment ago; None when some have left memory again.

        Good until the next call.  For the event loop alone.
        """
        parts: list[bytes] = []
        for i in covering:
            chunk = self.chunks[i]
            start, end = max(off, chunk.start), min(stop, chunk.stop)
            view = self.memory.recent.reply(self, i, start - chunk.start, end - chunk.start)
            if view is None or len(covering) == 1:
                return view
            parts.append(bytes(view))
        return b"".join(parts)
