"""Chunker: the bytes of one blob in the cache, chunk by chunk.

Knows files, digests and the chunk map.  Knows nothing of the network, of trio, or of who reads.  All methods may be
called from any thread; the ones that read or write much say "blocking".

Invariants
    1. A chunk is marked PRESENT only after its bytes matched its digest and were written, or the whole blob matched.
       Where its list has no digest of it yet, evidence accepts it once (`fusefs.values.evidence`), and the digest of
       what was accepted is in its slot before the mark is there.
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

from fusefs.cache.blob.direct import DirectFile
from fusefs.cache.blob.mapfile import ABSENT, ARRIVED, CLAIMED, PRESENT
from fusefs.cache.blob.prefix import PrefixHash
from fusefs.cache.blob.readback import ReadBack
from fusefs.cache.blob.stored import StoredBlob
from fusefs.errors import CacheFull, DigestMismatch, NoEvidence, SizeMismatch, Superseded, UnexpectedEnd
from fusefs.system.files import PIECE, disk_error, disk_errors, holds, pwrite_all, read_exactly
from fusefs.system.steps import step
from fusefs.values.digest import Digest
from fusefs.values.voucher import BOUND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fusefs.cache.blob.chunkmap import ChunkMap
    from fusefs.cache.blob.setup import BlobSetup
    from fusefs.cache.memory.buffer import Buffer
    from fusefs.system.files import Reader
    from fusefs.values.chunks import Buffer as Bytes
    from fusefs.values.chunks import Chunk
    from fusefs.values.evidence import Evidence, Prove


class Chunker(StoredBlob):
    """Made by `DiskCache.chunker`; one per blob and process.  What can be read of it: see `StoredBlob`.

    Attributes:
        prefix: the running hash for sealing.
        full: why the disk took no more, when last it did not.
        watched: a reader has come, and may want what arrives.
        direct: writes and reads past the page cache; None without a file.
        seal_lock: one thread at a time judges the whole blob.
    """

    def __init__(
        self, setup: BlobSetup, chunk_map: ChunkMap, fd: int, *, sealed: bool, full: CacheFull | None = None
    ) -> None:
        super().__init__(setup, chunk_map, fd, sealed=sealed)
        self.prefix = PrefixHash(setup.blob, len(setup.chunks), self._pieces, self._ready)
        self.full = full
        self.watched = False
        self.seal_lock = threading.Lock()
        self._room = setup.room
        self._slots = setup.chunks.slots  # of the list that it was opened with: sealing puts another in its place
        self.direct = DirectFile(fd, setup.place.data) if fd >= 0 else None
        self._read_back = ReadBack(self.direct, self.pread_file)

    # Getting bytes in

    def try_lock(self, index: int, count: int = 1) -> bool:
        """Take `count` chunks from `index` on for fetching or proving; False, and none, when others have some.

        Raises:
            CacheError: this file system has no such locks.
        """
        try:
            return self.map.try_lock_chunk(index, count)
        except OSError as exc:
            raise disk_error(self.place.map, exc) from exc

    def unlock(self, index: int, count: int = 1) -> None:
        """Give `count` chunks from `index` on back."""
        self.map.unlock_chunk(index, count)

    def put(self, chunk: Chunk, digest: Digest, reader: Reader) -> None:
        """Take exactly `chunk.size` bytes from `reader`, verify and store them; nothing if present.  Blocking.

        Raises:
            InvalidChunk: the blob has no such chunk.
            DigestMismatch: other bytes, or the list has another digest for this chunk.
            UnexpectedEnd: fewer bytes.
            SizeMismatch: more bytes than announced; nothing is written.
        """
        index = self.chunks.index_of(chunk)
        if (known := self.chunks.known(index)) not in (None, digest.raw):
            raise DigestMismatch(f"chunk {chunk}", expected=Digest.from_raw(known or b""), actual=digest)
        if self.present(index):
            return
        buffer = memoryview(bytearray(chunk.size))
        actual = read_exactly(reader, buffer, chunk)
        if reader(memoryview(bytearray(1))):
            raise SizeMismatch(f"chunk {chunk}: more bytes than announced")
        if Digest.from_raw(actual) != digest:
            raise DigestMismatch(f"chunk {chunk}", expected=digest, actual=Digest.from_raw(actual))
        state = self._accept(index, chunk, actual, (buffer,), None)
        if self._store(index, buffer, actual, state):
            self.prefix.offer(index, buffer)

    def fill(self, index: int, reader: Reader, buffer: Buffer, prove: Prove | None = None) -> int:
        """Take chunk `index` from a stream that may go on behind it.  Blocking.

        A chunk that fits `buffer` is verified in memory and written after; a larger one is written to its unmarked
        region as it comes and marked once it matched, and so is one that has no digest yet.  When the bytes stay in
        memory for those who read the chunk, the buffer goes on with other memory.

        Args:
            index: which chunk.
            reader: where it comes from.
            buffer: memory to receive it in.
            prove: gives the evidence for what `reader` has given, where its source has any.

        Returns:
            Its state now: PRESENT, or ARRIVED when only the whole proves it.

        Raises:
            DigestMismatch, UnexpectedEnd: the chunk stays absent.
            NoEvidence: so it does: its list decides, and has no digest of it, and the source proves nothing.
            CacheFull: it fits neither the buffer nor the disk.
            Superseded: another process has bound another list to the marks.
        """
        chunk = self.chunks[index]
        if not self.chunks.complete and not self.map.speaks_of(self.chunks):
            # What is marked there counts as proved by a digest, which is not known here.
            raise Superseded(f"{self.place.map}: another process has bound a chunk list to it")
        if self.chunks.voucher is not None and prove is None and self.listed and self.chunks.known(index) is None:
            raise self._no_evidence(chunk)  # before a byte of it is received: it could not be kept
        if chunk.size > buffer.size:
            return self._stream(index, chunk, reader, buffer.view, prove)
        data = buffer.view[: chunk.size]
        raw = read_exactly(reader, data, chunk)
        state = self._accept(index, chunk, raw, (data,), prove)
        # Readers are answered from there without another look: what nobody proves by itself must not get there.
        if buffer.pages is not None and state == PRESENT and self.memory.recent.has_room(buffer.size):
            if self._store(index, data, raw, state, stays=True):
                self.memory.recent.keep(self, index, buffer, chunk.size, unread=self.watched)
        elif self._store(index, data, raw, state):
            self.prefix.offer(index, data)
        return state

    def _stream(self, index: int, chunk: Chunk, reader: Reader, buffer: memoryview, prove: Prove | None) -> int:
        digest = hashlib.sha256()
        off = chunk.start
        with self._writable(chunk.size) as fd:
            if self.map[index] != ABSENT:  # it has arrived for others, who must not take it for what they hashed
                self.mark(index, ABSENT)
            while off < chunk.stop:
                got = reader(buffer[: min(PIECE, chunk.stop - off, len(buffer))])
                if not got:
                    raise UnexpectedEnd(f"chunk {chunk}: ended {chunk.stop - off} bytes early")
                digest.update(buffer[:got])
                with disk_errors(self.place.data):
                    pwrite_all(fd, buffer[:got], off)
                off += got
        raw = digest.digest()
        pieces = (self.pread_file(at, min(PIECE, chunk.stop - at)) for at in range(chunk.start, chunk.stop, PIECE))
        state = self._accept(index, chunk, raw, pieces, prove)
        self.usage.written(index)
        with disk_errors(self.place.map):
            self._note(index, raw, state)
            self.map.mark(index, state)
        return state

    def _accept(self, index: int, chunk: Chunk, raw: bytes, pieces: Iterable[Bytes], prove: Prove | None) -> int:
        """The state in which bytes with the sha256 `raw` may be kept: proved, or to be proved with the whole.

        Raises:
            DigestMismatch, NoEvidence: in none.
        """
        chunks = self.chunks
        if chunks.unlisted:
            return ARRIVED
        known = chunks.known(index)
        if raw == known:
            return PRESENT
        # A slot may have rotted, so of a chunk that is not here evidence says more than its slot.
        evidence = self._evidence(prove) if prove is not None and not chunks.complete else None
        if evidence is not None and evidence.voucher in (BOUND, chunks.voucher):
            evidence.check(chunk, pieces)
            return PRESENT
        if known is not None and (chunks.complete or self.listed):
            what = f"{self.blob.digest.short}… chunk {chunk}"
            raise DigestMismatch(what, expected=Digest.from_raw(known), actual=Digest.from_raw(raw))
        if self.listed:
            raise self._no_evidence(chunk)
        return ARRIVED

    def _evidence(self, prove: Prove) -> Evidence | None:
        """What `prove` gives; None where there is none, and the whole decides."""
        try:
            return prove()
        except NoEvidence:
            if self.listed:
                raise
            return None

    def _no_evidence(self, chunk: Chunk) -> NoEvidence:
        return NoEvidence(f"{self.blob.digest.short}… chunk {chunk}: its digest is not known, and nothing proves it")

    def _note(self, index: int, raw: bytes, state: int) -> None:
        """Keep the digest of a chunk before its mark: without it nobody could prove the mark after the next boot.

        The slots of an evidenced list are of what was accepted.  What has merely arrived, for nothing is served by the
        list, gets none: after a boot nobody could tell the two apart.
        """
        slots = self.chunks.slots
        if state == PRESENT or self.chunks.unlisted:
            slots.fill(index, raw)
        else:
            slots.empty(index)  # it did not match, and may be torn: if it kept the chunk out, that could never come
            slots.note(index, raw)

    def _store(self, index: int, data: memoryview, raw: bytes, state: int, *, stays: bool = False) -> bool:
        """Write bytes that were accepted; what the disk will not take is kept in the spill: False."""
        try:
            self.write(index, data, raw, state, stays=stays)
        except CacheFull as exc:
            if state == ARRIVED and not (self.serve_unproved and self.chunks.unlisted):
                raise  # it cannot be proved without the rest, and the rest will not fit either
            self.spills = True
            self.memory.take_over(self, index, data, exc)
            return False
        return True

    def write(self, index: int, data: memoryview, raw: bytes, state: int, *, stays: bool = False) -> None:
        """Write the bytes of a chunk, whose sha256 is `raw`, and mark it.  Blocking; the caller holds the chunk's lock.

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
            if not self.chunks.complete:
                self._note(index, raw, state)
            self.map.mark(index, state)
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
        return not self.sealed and self.prefix.index == self.prefix.count

    def _ready(self, index: int) -> bool:
        """True when chunk `index` is there to be hashed."""
        return not self.sealed and index < self.prefix.count and self.map[index] in self.here

    def _pieces(self, index: int) -> Iterator[memoryview | bytearray]:
        """Chunk `index`, from memory or from the disk.  Blocking.

        Raises:
            CacheError: it cannot be read whole.
        """
        slots = self.chunks.slots
        digest = None if self.chunks.complete or slots.seen(index) is not None else hashlib.sha256()
        with self.memory.recent.hashing(self, index) as data:
            if data is not None:
                if digest:
                    digest.update(data)
                yield data
            else:
                chunk = self.chunks[index]
                for off in range(chunk.start, chunk.stop, PIECE):
                    with step("hash read back"):
                        piece = self._read_back.read(off, min(PIECE, chunk.stop - off))
                    if digest:
                        digest.update(piece)
                    yield piece
                if index + 1 == len(self.chunks):
                    self._read_back.end()
        if digest:
            slots.note(index, digest.digest())

    # Proving what is here

    def prove(self, index: int) -> bool:
        """Hash a claimed chunk and mark it as it was before the boot, or ABSENT.  Blocking, under the chunk's lock.

        Returns:
            True when it needs no fetching.
        """
        if self.map[index] != CLAIMED:
            return self.present(index)
        matches = self.matches(index)
        with step("claim proved"):
            self.mark(index, self.taken if matches else ABSENT)
        return matches

    def mark(self, index: int, state: int) -> None:
        """Set a chunk's state; the caller holds its lock and has proved what it says.

        Raises:
            CacheFull, CacheError: the disk does not let us.
        """
        with disk_errors(self.place.map):
            self.map.mark(index, state)

    def matches(self, index: int) -> bool:
        """True when the bytes on disk have the chunk's digest, as far as that is known.  Blocking."""
        raw = self.chunks.known(index)
        if raw is None or not holds(self.fd, self.chunks[index], raw):
            return False
        self.chunks.slots.note(index, raw)  # so that the running hash need not compute it again
        return True

    def take_over(self, old: Chunker) -> None:
        """Have what `old` keeps in memory, and its readers: it lived there alone, for the disk had no room for it."""
        self.watched, self.spills = old.watched, old.spills
        self.memory.spill.hand_over(old, self)

    def close(self) -> None:
        """Let go of files and locks.  No other method may be running or called again."""
        self.memory.forget(self)
        self.usage.note()
        self.map.close()
        self._slots.close()
        if self.direct:
            self.direct.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
