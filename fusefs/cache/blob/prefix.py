"""PrefixHash: the running sha256 over the contiguous verified front of a blob.

It follows the front while the bytes are still in memory, so that sealing a blob that arrived in order costs no second
pass.  What arrived out of order is read back later by `advance`.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

from fusefs.errors import CacheError
from fusefs.system.files import PIECE
from fusefs.system.steps import step

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.values.chunks import Blob


class PrefixHash:
    """The hash of chunks 0 to `index` - 1.

    Whoever updates it holds `lock`; a writer that finds it taken just leaves its chunk to be read back.

    Attributes:
        index: the first chunk that is not in the hash.
    """

    def __init__(self, blob: Blob) -> None:
        self.lock = threading.Lock()
        self.index = 0
        self._blob = blob
        self._hash = blob.digest.hasher(blob.size)

    def offer(self, index: int, data: memoryview) -> None:
        """Take chunk `index` if it is the next one and nobody else is busy with the hash."""
        if index == self.index and self.lock.acquire(blocking=False):
            try:
                if index == self.index:
                    self._hash.update(data)
                    self.index += 1
            finally:
                self.lock.release()

    def advance(self, chunker: Chunker, pieces: int) -> bool:
        """Take up to `pieces` chunks that arrived out of order.  Blocking.

        Returns:
            True when there may be more to take.
        """
        with self.lock:
            for _ in range(pieces):
                if not chunker.behind:
                    return False
                self.take_next(chunker)
        return True

    def take_next(self, chunker: Chunker) -> None:
        """Take the next chunk, from memory or from the disk.  Blocking; the caller holds the lock.

        Raises:
            CacheError: it cannot be read whole; the hash starts again.
        """
        with chunker.memory.recent.hashing(chunker, self.index) as data:
            if data is None:
                self._read_back(chunker)
            else:
                self._hash.update(data)
        self.index += 1

    def _read_back(self, chunker: Chunker) -> None:
        chunk = chunker.chunks[self.index]
        digest = None if chunker.chunks.proved or self.index in chunker.computed else hashlib.sha256()
        try:
            for off in range(chunk.start, chunk.stop, PIECE):
                with step("hash read back"):
                    piece = chunker.pread_file(off, min(PIECE, chunk.stop - off))
                self._hash.update(piece)
                if digest:
                    digest.update(piece)
        except CacheError:
            self.reset()
            raise
        if digest:
            chunker.computed[self.index] = digest.digest()

    def reset(self) -> None:
        """Start again: something before `index` was replaced.  The caller holds the lock."""
        self._hash = self._blob.digest.hasher(self._blob.size)
        self.index = 0

    def hexdigest(self) -> str:
        """Of what is in the hash so far."""
        return self._hash.hexdigest()
