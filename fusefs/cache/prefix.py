"""PrefixHash: the running sha256 over the contiguous verified front of a blob.

It follows the front while the bytes are still in memory, so that sealing a blob that arrived in order costs no second
pass.  What arrived out of order is read back later by `Chunker.advance`.
"""

from __future__ import annotations

import hashlib
import threading


class PrefixHash:
    """The hash of chunks 0 to `index` - 1.

    Whoever updates it holds `lock`; a writer that finds it taken just leaves its chunk to be read back.

    Attributes:
        index: the first chunk that is not in the hash.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.index = 0
        self._hash = hashlib.sha256()

    def offer(self, index: int, data: memoryview) -> None:
        """Take chunk `index` if it is the next one and nobody else is busy with the hash."""
        if index == self.index and self.lock.acquire(blocking=False):
            try:
                if index == self.index:
                    self.update(data)
                    self.index += 1
            finally:
                self.lock.release()

    def update(self, data: memoryview) -> None:
        """Hash more bytes of the chunk `index`; the caller holds the lock and counts the chunk when it is done."""
        self._hash.update(data)

    def reset(self) -> None:
        """Start again: something before `index` was replaced.  The caller holds the lock."""
        self._hash = hashlib.sha256()
        self.index = 0

    def hexdigest(self) -> str:
        """Of what is in the hash so far."""
        return self._hash.hexdigest()
