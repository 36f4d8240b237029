"""Memory: what of the blobs lies in memory, in one budget for one process, and answers from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.cache.blob.chunkmap import SERVED
from fusefs.cache.memory.recent import Recent
from fusefs.cache.memory.spill import Spill
from fusefs.errors import ChunkGone

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.errors import CacheFull


class Memory:
    """At most `capacity` bytes.

    Attributes:
        spill: chunks that the disk would not take; they go first, for nobody else has them.
        recent: chunks that were fetched a moment ago and lie on the disk, too.
    """

    def __init__(self, capacity: int) -> None:
        self.spill = Spill(capacity)
        self.recent = Recent(capacity)
        self._answer = memoryview(bytearray())

    def take_over(self, chunker: Chunker, index: int, data: memoryview, reason: CacheFull) -> None:
        """The disk does not take a chunk for `reason`."""
        self.spill.warn(reason)
        self.spill.put(chunker, index, bytes(data))
        self.recent.leave_to_others(self.spill.used)

    def spilled(self, chunker: Chunker, off: int, stop: int) -> bytes | None:
        """Bytes [off, stop) of a blob, some of which the disk does not have; None when it has all of them.

        Raises:
            ChunkGone: others needed the memory.
            CacheError: the disk cannot be read.
        """
        covering = chunker.chunks.covering(off, stop - off)
        kept = {i: data for i in covering if (data := self.spill.get(chunker, i)) is not None}
        if not kept and all(chunker.map[i] in SERVED for i in covering):
            return None
        parts: list[bytes | bytearray] = []
        for i in covering:
            chunk = chunker.chunks[i]
            start, end = max(off, chunk.start), min(stop, chunk.stop)
            if i in kept:
                parts.append(kept[i][start - chunk.start : end - chunk.start])
            elif chunker.map[i] in SERVED:
                parts.append(chunker.pread_file(start, end - start))
            else:
                raise ChunkGone(f"{chunker.blob.digest.short}… chunk {chunk}: left memory before it was read")
        return b"".join(parts)

    def of_late(self, chunker: Chunker, off: int, stop: int) -> bytes | memoryview | None:
        """Bytes [off, stop) of a blob that were fetched a moment ago; None when some have left memory again.

        Good until the next call.  For the event loop alone.
        """
        covering = chunker.chunks.covering(off, stop - off)
        parts: list[bytes] = []
        for i in covering:
            chunk = chunker.chunks[i]
            start, end = max(off, chunk.start), min(stop, chunk.stop)
            view = self.recent.reply(chunker, i, start - chunk.start, end - chunk.start)
            if view is None or len(covering) == 1:
                return view
            parts.append(bytes(view))
        return b"".join(parts)

    def answer(self, size: int) -> memoryview:
        """A buffer for one answer of `size` bytes; the same one each time, because a fresh one has to be faulted in.

        Good until the next call.  For the event loop alone.
        """
        if len(self._answer) < size:
            self._answer = memoryview(bytearray(size))
        return self._answer[:size]

    def forget(self, chunker: Chunker) -> None:
        """Drop every chunk of one blob."""
        self.spill.forget(chunker)
        self.recent.forget(chunker)
