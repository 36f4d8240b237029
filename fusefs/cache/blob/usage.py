"""Usage: when each chunk of an open blob was used, and who reads it now.  What eviction goes by."""

from __future__ import annotations

import contextlib
import time
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.cache.blob.chunkmap import ChunkMap
    from fusefs.values.chunks import ChunkList

_NOTED_EVERY = 60
"""Seconds between two notes on disk, for other processes and the next mount."""


_AHEAD = 24 * 3600
"""Seconds that a time of use may be ahead of the clock: clocks are corrected, and machines that share a disk differ."""


def order(last_use: float, now: float) -> tuple[bool, float]:
    """The key by which eviction sorts times of use, both in seconds since 1970.

    What was used in the future was used before the clock was set back, and not since: that would have brought its time
    down.  So it comes before all that was used since, and keeps its order among itself.
    """
    return last_use <= now + _AHEAD, last_use


class Usage:
    """Of one blob in one process; thread-safe.

    Attributes:
        seconds: when each chunk was read or written last, in seconds since 1970.
        latest: when any byte was read last, in seconds since 1970.
        evictions: how often chunks were taken off the disk; who reads looks at it before and after.
        readers: ranges [start, stop) for whose bytes somebody waits: none of them goes before he has them.
    """

    def __init__(
        self,
        chunks: ChunkList,
        chunk_map: ChunkMap,
        clock: Callable[[], float] = time.time,
        *,
        readers: list[tuple[int, int]] | None = None,
    ) -> None:
        self.evictions = 0
        self._clock = clock
        self._chunks = chunks
        self._map = chunk_map
        self._noted = min(chunk_map.last_use, self._now())  # the note may have rotted, or the clock been wrong
        self.seconds = array("I", [self._noted]) * len(chunks)
        self.latest = self._noted
        self.readers = [] if readers is None else readers

    def read(self, off: int, stop: int) -> None:
        """Bytes [off, stop) are read now; said to the disk by `note`."""
        self.used(self._chunks.covering(off, stop - off))

    def used(self, indices: range) -> None:
        """Some bytes of each of these chunks are read now."""
        self.latest = now = self._now()
        for index in indices:
            self.seconds[index] = now

    @property
    def unnoted(self) -> bool:
        """Whether a read has to be written down."""
        return abs(self.latest - self._noted) >= _NOTED_EVERY  # the clock may have been set back

    def note(self) -> None:
        """Write down when it was read last, if that has to be.  Blocking, but short."""
        if self.unnoted:
            self._noted = self.latest
            with contextlib.suppress(OSError):
                self._map.note_use(self._noted)

    def written(self, index: int) -> None:
        """Chunk `index` has come now."""
        self.seconds[index] = self._now()

    def _now(self) -> int:
        """What a note can hold: a machine without a battery may begin before 1970."""
        return min(max(0, int(self._clock())), (1 << 32) - 1)

    def is_read(self, start: int, stop: int) -> bool:
        """True when somebody waits for bytes of [start, stop)."""
        return any(first < stop and start < last for first, last in list(self.readers))
