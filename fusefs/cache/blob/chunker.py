"""Chunker: the bytes of one blob in the cache, chunk by chunk.

Knows files, digests and the chunk map.  Knows nothing of the network, of trio, or of who reads.  All methods may be
called from any thread; the ones that read or write much say "blocking".

Invariants
    1. A chunk is marked PRESENT only after its bytes matched its digest and were written, or the whole blob matched.
    2. What is PRESENT is not written again, by no process: `put` writes under the chunk's lock and looks at the map
       after it has the lock.
    3. The final name exists only after the sha256 of the whole blob matched (`fusefs.cache.blob.sealing`).
    4. Bytes leave through `pread` alone, and only after `missing` said that nothing is missing.

One chunk's life
    ABSENT, `try_lock`, look again at the map, `fill` (read, hash, compare, pwrite, mark PRESENT), `unlock`.
    A crash before the mark leaves it ABSENT (the bytes are fetched again); after the mark it is PRESENT in this boot
    (the page cache has outlived the process), and CLAIMED in the next, where `prove` hashes it before it is served.
    Two processes: the second one's `try_lock` fails, or it gets the lock later and finds the chunk PRESENT.  The
    kernel frees the locks of a process that dies.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from typing import TYPE_CHECKING

from fusefs.cache.blob.chunkmap import ABSENT, ARRIVED, CLAIMED, PRESENT
from fusefs.cache.blob.direct import DirectWriter
from fusefs.cache.blob.prefix import PrefixHash
from fusefs.cache.blob.stored import StoredBlob
from fusefs.errors import CacheFull, DigestMismatch, SizeMismatch, UnexpectedEnd
from fusefs.system.files import PIECE, disk_error, disk_errors, holds, pwrite_all, read_exactly
from fusefs.system.steps import step
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.cache.blob.chunkmap import ChunkMap
    from fusefs.cache.blob.room import Room
    from fusefs.cache.memory.budget import Memory
    from fusefs.cache.memory.buffer import Buffer
    from fusefs.cache.place import HeldPlace
    from fusefs.system.files import Reader
    from fusefs.values.chunks import Blob, Chunk, ChunkList
    from fusefs.values.voucher import Voucher


class Chunker(StoredBlob):
    """Made by `DiskCache.chunker`; one per blob and process.  What can be read of it: see `StoredBlob`.

    Attributes:
        prefix: the running hash for sealing.
        full: why the disk took no more, when last it did not.
        watched: a reader has come, and may want what arrives.
        direct: writes past the page cache; None without a file.
        computed: raw digests of chunks of a list that came without them.
        seal_lock: one thread at a time judges the whole blob.
    """

    def __init__(
        self,
        blob: Blob,
        chunks: ChunkList,
        place: HeldPlace,
        chunk_map: ChunkMap,
        fd: int,
        memory: Memory,
        room: Room,
        *,
        voucher: Voucher,
        sealed: bool,
    ) -> None:
        super().__init__(blob, chunks, place, chunk_map, fd, memory, voucher=voucher, sealed=sealed)
        self.prefix = PrefixHash(blob, self._pieces, self._ready)
        self.full: CacheFull | None = None
        self.watched = False
        self.computed: dict[int, bytes] = {}
        self.seal_lock = threading.Lock()
        self._room = room
        self.direct = DirectWriter(fd, place.data) if fd >= 0 else None

    # Getting bytes in

    def try_lock(self, index: int) -> bool:
        """Take chunk `index` for fetching or proving; False when another process has it.

        Raises:
            CacheError: this file system has no such locks.
        """
        try:
            return self.map.try_lock_chunk(index)
        except OSError as exc:
            raise disk_error(self.place.map, exc) from exc

    def unlock(self, index: int) -> None:
        """Give chunk `index` back."""
        self.map.unlock_chunk(index)

    def put(self, chunk: Chunk, digest: Digest, reader: Reader) -> None:
        """Take exactly `chunk.size` bytes from `reader`, verify and store them; nothing if present.  Blocking.

        Raises:
            InvalidChunk: the blob has no such chunk.
            DigestMismatch: other bytes, or the list has another digest for this chunk.
            UnexpectedEnd: fewer bytes.
            SizeMismatch: more bytes than announced; nothing is written.
        """
        index = self.chunks.index_of(chunk)
        if self.chunks.proved and self.chunks.digest(index) != digest:
            raise DigestMismatch(f"chunk {chunk}", expected=self.chunks.digest(index), actual=digest)
        if self.present(index):
            return
        buffer = memoryview(bytearray(chunk.size))
        actual = read_exactly(reader, buffer, chunk)
        if reader(memoryview(bytearray(1))):
            raise SizeMismatch(f"chunk {chunk}: more bytes than announced")
        if Digest.from_raw(actual) != digest:
            raise DigestMismatch(f"chunk {chunk}", expected=digest, actual=Digest.from_raw(actual))
        self._compare(index, chunk, actual)
        if self._store(index, buffer):
            self.prefix.offer(index, buffer)

    def fill(self, index: int, reader: Reader, buffer: Buffer) -> None:
        """Take chunk `index` from a stream that may go on behind it.  Blocking.

        A chunk that fits `buffer` is verified in memory and written after; a larger one is written to its unmarked
        region as it comes and marked once it matched, and so is one that has no digest yet.  When the bytes stay in
        memory for those who read the chunk, the buffer goes on with other memory.

        Raises:
            DigestMismatch, UnexpectedEnd: the chunk stays absent.
            CacheFull: it fits neither the buffer nor the disk.
        """
        chunk = self.chunks[index]
        if chunk.size > buffer.size:
            self._stream(index, chunk, reader, buffer.view)
            return
        data = buffer.view[: chunk.size]
        raw = read_exactly(reader, data, chunk)
        self._compare(index, chunk, raw)
        # Readers are answered from there without another look: what has no digest of its own must not get there.
        if buffer.pages is not None and self.chunks.proved and self.memory.recent.has_room(buffer.size):
            if self._store(index, data, stays=True):
                self.memory.recent.keep(self, index, buffer, chunk.size, unread=self.watched)
        elif self._store(index, data):
            self.prefix.offer(index, data)

    def _stream(self, index: int, chunk: Chunk, reader: Reader, buffer: memoryview) -> None:
        digest = hashlib.sha256()
        off = chunk.start
        with self._writable(chunk.size) as fd:
            while off < chunk.stop:
                got = reader(buffer[: min(PIECE, chunk.stop - off, len(buffer))])
                if not got:
                    raise UnexpectedEnd(f"chunk {chunk}: ended {chunk.stop - off} bytes early")
                digest.update(buffer[:got])
                with disk_errors(self.place.data):
                    pwrite_all(fd, buffer[:got], off)
                off += got
        self._compare(index, chunk, digest.digest())
        self.usage.written(index)
        with disk_errors(self.place.map):
            self.map.mark(index, PRESENT if self.chunks.proved else ARRIVED)

    def _compare(self, index: int, chunk: Chunk, raw: bytes) -> None:
        if not self.chunks.proved:
            self.computed[index] = raw
        elif raw != self.chunks.raw_digest(index):
            what = f"{self.blob.digest.short}… chunk {chunk}"
            raise DigestMismatch(what, expected=self.chunks.digest(index), actual=Digest.from_raw(raw))

    def _store(self, index: int, data: memoryview, *, stays: bool = False) -> bool:
        """Write verified bytes; what the disk will not take is kept in the spill: False."""
        try:
            self.write(index, data, stays=stays)
        except CacheFull as exc:
            if not self.chunks.proved and not self.serve_unproved:
                raise  # it cannot be proved without the rest, and the rest will not fit either
            self.spills = True
            self.memory.take_over(self, index, data, exc)
            return False
        return True

    def write(self, index: int, data: memoryview, *, stays: bool = False) -> None:
        """Write the verified bytes of a chunk and mark it.  Blocking; the caller holds the chunk's lock.

        With `stays` they are in memory for their readers, too, and need no place in the page cache.

        Raises:
            CacheFull: the disk takes no more; `full` says so until it takes some again.
            CacheError: it is broken.
        """
        off = self.chunks[index].start
        try:
            with self._writable(len(data)) as fd, step("chunk written"):
                if not (stays and self.direct and self.direct.write(data, off)):
                    pwrite_all(fd, data, off)
            self.usage.written(index)  # before it can be taken for one of the oldest
            self.map.mark(index, PRESENT if self.chunks.proved else ARRIVED)
        except CacheFull as exc:
            self.full = exc
            raise
        except OSError as exc:
            error = disk_error(self.place.data, exc)
            if isinstance(error, CacheFull):
                self.full = error
            raise error from exc
        self.full = None
        self.memory.spill.well()

    @contextlib.contextmanager
    def _writable(self, size: int) -> Iterator[int]:
        """The file, while it takes `size` more bytes.

        Raises:
            CacheFull: no room; or it is sealed and could not be unsealed; or it has no map.
        """
        if self.fd < 0 or self.sealed or self.map.fd < 0:
            raise self.full or CacheFull(f"{self.place.data}: cannot be written")
        with self._room.room(size):
            yield self.fd

    # The running hash

    @property
    def behind(self) -> bool:
        """True when the running hash can be advanced by reading back."""
        return self._ready(self.prefix.index)

    @property
    def hashed(self) -> bool:
        """True when the running hash has the whole blob, which is then ready for sealing."""
        return not self.sealed and self.prefix.index == len(self.chunks)

    def _ready(self, index: int) -> bool:
        """True when chunk `index` is there to be hashed."""
        return not self.sealed and index < len(self.chunks) and self.map[index] in self.here

    def _pieces(self, index: int) -> Iterator[memoryview | bytearray]:
        """Chunk `index`, from memory or from the disk.  Blocking.

        Raises:
            CacheError: it cannot be read whole.
        """
        with self.memory.recent.hashing(self, index) as data:
            if data is not None:
                yield data
                return
        chunk = self.chunks[index]
        digest = None if self.chunks.proved or index in self.computed else hashlib.sha256()
        for off in range(chunk.start, chunk.stop, PIECE):
            with step("hash read back"):
                piece = self.pread_file(off, min(PIECE, chunk.stop - off))
            if digest:
                digest.update(piece)
            yield piece
        if digest:
            self.computed[index] = digest.digest()

    # Proving what is here

    def prove(self, index: int) -> bool:
        """Hash a claimed chunk and mark it PRESENT or ABSENT.  Blocking; the caller holds the chunk's lock.

        Returns:
            True when it is present now.
        """
        if self.map[index] != CLAIMED:
            return self.present(index)
        matches = self.matches(index)
        with step("claim proved"):
            self.mark(index, PRESENT if matches else ABSENT)
        return matches

    def mark(self, index: int, state: int) -> None:
        """Set a chunk's state; the caller holds its lock and has proved what it says.

        Raises:
            CacheFull, CacheError: the disk does not let us.
        """
        with disk_errors(self.place.map):
            self.map.mark(index, state)

    def matches(self, index: int) -> bool:
        """True when the bytes on disk have the chunk's digest.  Blocking; only for a list with digests."""
        return holds(self.fd, self.chunks[index], self.chunks.raw_digest(index))

    def close(self) -> None:
        """Let go of files and locks.  No other method may be running or called again."""
        self.memory.forget(self)
        self.usage.note()
        self.map.close()
        if self.direct:
            self.direct.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
