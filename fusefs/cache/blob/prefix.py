"""PrefixHash: the running sha256 over the contiguous verified front of a blob.

It follows the front while the bytes are still in memory, so that sealing a blob that arrived in order costs no second
pass.  What arrived out of order is read back later by `advance`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fusefs.errors import CacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fusefs.values.chunks import Blob

    Pieces = Callable[[int], Iterable[memoryview | bytearray]]
    """Gives a chunk by its number, in pieces; raises CacheError when it cannot be read whole."""


class PrefixHash:
    """The hash of chunks 0 to `index` - 1.

    Whoever updates it holds `lock`; a writer that finds it taken just leaves its chunk to be read back.

    Args:
        blob: by whose algorithm it is hashed.
        count: chunks of it.
        pieces: reads a chunk back.
        ready: whether a chunk is there to be read back.

    Attributes:
        index: the first chunk that is not in the hash.
        count: how many there are.
    """

    def __init__(self, blob: Blob, count: int, pieces: Pieces, ready: Callable[[int], bool]) -> None:
        self.lock = threading.Lock()
        self.index = 0
        self.count = count
        self._pieces = pieces
        self._ready = ready
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

    def advance(self, chunks: int) -> bool:
        """Take up to `chunks` chunks that arrived out of order.  Blocking.

        Returns:
            True when there may be more to take.
        """
        with self.lock:
            for _ in range(chunks):
                if not self._ready(self.index):
                    return False
                self.take_next()
        return True

    def take_next(self) -> None:
        """Take the next chunk, from memory or from the disk.  Blocking; the caller holds the lock.

        Raises:
            CacheError: it cannot be read whole; the hash starts again.
        """
        try:
            for piece in self._pieces(self.index):
                self._hash.update(piece)
        except CacheError:
            self.reset()
            raise
        self.index += 1

    def reset(self) -> None:
        """Start again: something before `index` was replaced.  The caller holds the lock."""
        self._hash = self._blob.digest.hasher(self._blob.size)
        self.index = 0

    def hexdigest(self) -> str:
        """Of what is in the hash so far."""
        return self._hash.hexdigest()
