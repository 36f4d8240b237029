"""InPlace: a file of this machine that is a blob, read where it lies; every chunk is hashed before it is served.

Nothing is copied, so nothing is kept that was proved once: the file belongs to somebody, who may change it at any time
and in any way, also through a mapping, which changes no time stamp.  So each read takes whole chunks into memory,
hashes them there, and is answered from that memory.  The kernel's page cache keeps what was read.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from fusefs.errors import BlobQuarantined
from fusefs.system.files import disk_errors, preadv_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fusefs.values.chunks import Blob, ChunkList

log = logging.getLogger(__name__)


class ProvedChunks:
    """Chunks that were hashed lately, of all files together: who reads in order hashes each once.  Thread-safe."""

    def __init__(self, capacity: int) -> None:
        """Keep `capacity` bytes at most."""
        self._capacity = capacity
        self._size = 0
        self.chunks: OrderedDict[tuple[object, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, of: object, index: int) -> bytes | None:
        """Chunk `index` of a file, if it is here."""
        with self._lock:
            data = self.chunks.get((of, index))
            if data is not None:
                self.chunks.move_to_end((of, index))
            return data

    def put(self, of: object, index: int, data: bytes) -> None:
        """Keep a chunk, in place of those that were not used for longest."""
        with self._lock:
            if (of, index) in self.chunks or len(data) > self._capacity:
                return
            self.chunks[of, index] = data
            self._size += len(data)
            while self._size > self._capacity:
                self._size -= len(self.chunks.popitem(last=False)[1])


class InPlace:
    """One blob that is a file.  Blocking; thread-safe.

    Attributes:
        blob: digest and size.
        path: where it lies.
        chunks: its chunk list, with digests.
        changed: a chunk was found to be another than when the file was hashed.
    """

    def __init__(
        self, blob: Blob, path: Path, chunks: ChunkList, open_file: Callable[[], int], proved: ProvedChunks
    ) -> None:
        """Name a file; it is opened when it is read.

        Args:
            blob: what it was when it was hashed.
            path: for messages.
            chunks: its chunk list, with digests.
            open_file: gives a descriptor of it.
            proved: keeps chunks for the next reads.
        """
        self.blob = blob
        self.path = path
        self.changed = False
        self.chunks = chunks
        self._open_file = open_file
        self._proved = proved
        self._fd = -1
        self._users = 0
        self._lock = threading.Lock()

    def read(self, off: int, size: int) -> bytes:
        """The bytes [off, off+size), which lie within the file, each of a chunk that has just been hashed.

        Raises:
            BlobQuarantined: the file is not what it was.
            CacheError, ServeError: it cannot be read.
        """
        parts = []
        for index in self.chunks.covering(off, size):
            chunk = self.chunks[index]
            data = self._proved.get(self, index) or self._read_chunk(index)
            parts.append(data[max(off - chunk.start, 0) : off + size - chunk.start])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def hold(self) -> None:
        """Have the file open from now on: whoever removes it or takes its name does not take its bytes.

        Raises:
            CacheError, ServeError: it cannot be opened.
        """
        self._enter()

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of the file, which is not hashed for it.

        Raises:
            CacheError, ServeError: it cannot be opened.
        """
        fd = self._enter()
        try:
            yield fd
        finally:
            self._leave()

    def close_idle(self) -> None:
        """Give the descriptor back, unless somebody reads; the next read opens the file again."""
        with self._lock:
            if not self._users and self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _read_chunk(self, index: int) -> bytes:
        chunk = self.chunks[index]
        buffer = bytearray(chunk.size)
        fd = self._enter()
        try:
            with disk_errors(self.path):
                got = preadv_all(fd, memoryview(buffer), chunk.start)
        finally:
            self._leave()
        if got != chunk.size or hashlib.sha256(buffer).digest() != self.chunks.raw_digest(index):
            if not self.changed:
                log.warning("%s has changed since it was hashed: bytes %s are others.", self.path, chunk)
            self.changed = True
            raise BlobQuarantined(f"{self.path} has changed since it was hashed; unmount, and mount it again")
        data = bytes(buffer)
        self._proved.put(self, index, data)
        return data

    def _enter(self) -> int:
        with self._lock:
            if self._fd < 0:
                self._fd = self._open_file()
            self._users += 1
            return self._fd

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
