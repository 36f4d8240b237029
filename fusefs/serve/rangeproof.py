"""RangeProof: hashes whole chunks while a part of a blob is sent, so that no answer is complete with wrong bytes.

Knows bytes and a chunk list.  Knows neither files nor clients.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusefs.values.chunks import Chunk, ChunkList


class RangeProof:
    """Fed, in order, with every byte of the chunks that a range touches, those before and behind the range as well.

    A chunk counts for nothing before its last byte, so that who sends must keep the last bytes of the range back until
    `complete`.

    Attributes:
        at: the offset of the byte that it wants next.
    """

    def __init__(self, chunks: ChunkList, wanted: Chunk) -> None:
        """`chunks` have digests; `wanted` lies in the blob."""
        touched = chunks.covering(wanted.start, wanted.size)
        self._chunks = chunks
        self._next = touched.start
        self._end = touched.stop
        self._hash = hashlib.sha256()
        self.at = chunks[touched.start].start

    @property
    def stop(self) -> int:
        """Where the last chunk that the range touches ends."""
        return self._chunks[self._end - 1].stop

    @property
    def complete(self) -> bool:
        """True when every chunk that the range touches is what its digest says."""
        return self._next == self._end

    def feed(self, data: memoryview) -> bool:
        """Take the bytes from `at` on, up to `stop` at most.

        Returns:
            False when a chunk is not what its digest says; nothing more may then be sent.
        """
        while data:
            stop = self._chunks[self._next].stop
            piece, data = data[: stop - self.at], data[stop - self.at :]
            self._hash.update(piece)
            self.at += len(piece)
            if self.at == stop:
                if self._hash.digest() != self._chunks.raw_digest(self._next):
                    return False
                self._next += 1
                self._hash = hashlib.sha256()
        return True
