"""ProvedFile: a range of a file that is hashed as it is sent, whole chunks of it, and whose end waits for the hashes.

A range that covers part of a chunk costs reading and hashing all of that chunk, each time.  To remember which chunks
were right would be cheaper and worth less: a mapping changes a file without moving any of its times.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from fusefs.serve.rangeproof import RangeProof
from fusefs.values.settings import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.serve.body import OpenFile
    from fusefs.values.chunks import Chunk, ChunkList

log = logging.getLogger(__name__)

_SCRATCH = 256 * KIB
"""Bytes of the buffer for what is hashed and not sent; there is one for each thread at work."""

_TURN = 8 * MIB
"""Bytes that a thread hashes before others get their turn, and before a client that went away is noticed: 5 ms."""


class ProvedFile:
    """A Source.  Its range must be read in order, and all of it."""

    def __init__(
        self,
        file: OpenFile,
        chunks: ChunkList,
        wanted: Chunk,
        distrust: Callable[[], None],
        threads: trio.CapacityLimiter,
    ) -> None:
        """Prove `wanted` of `file`.

        Args:
            file: closed by `close`.
            chunks: with digests.
            wanted: what will be read.
            distrust: called, in a thread, when a chunk is not what its digest says.
            threads: how many may read and hash at once.
        """
        self._file = file
        self._wanted = wanted
        self._proof = RangeProof(chunks, wanted)
        self._distrust = distrust
        self._threads = threads

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def readinto(self, buffer: memoryview, off: int) -> int:
        """Fill the front of `buffer`; of the last piece only when every chunk of the range is right.

        Returns:
            How many bytes; 0 when the file is not what it was, or not what its digest says, which is logged.
        """
        while self._proof.at < off:
            if not await self._in_thread(self._pass_over, off):
                return 0
        count = await self._in_thread(self._read, buffer, off)
        # The last piece lies in the buffer while the rest of its chunk decides whether it is sent.
        while count and off + count == self._wanted.stop and not self._proof.complete:
            if not await self._in_thread(self._pass_over, self._proof.stop):
                return 0
        return count

    async def _in_thread(self, work: Callable[..., int], *args: object) -> int:
        return await trio.to_thread.run_sync(work, *args, limiter=self._threads)

    def _read(self, buffer: memoryview, off: int) -> int:
        count = self._file.read(buffer, off)
        return count if count and self._feed(buffer[:count]) else 0

    def _pass_over(self, stop: int) -> int:
        """Hash what lies before `stop` and is not sent, a turn of it."""
        stop = min(stop, self._proof.at + _TURN)
        scratch = memoryview(bytearray(min(_SCRATCH, stop - self._proof.at)))
        while self._proof.at < stop:
            if not self._read(scratch[: stop - self._proof.at], self._proof.at):
                return 0
        return 1

    def _feed(self, data: memoryview) -> bool:
        if self._proof.feed(data):
            return True
        log.warning("%s is not what its digest says; the answer was cut short.", self._file.label)
        self._distrust()
        return False
