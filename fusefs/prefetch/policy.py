"""Prefetch: what to have next of one blob, from the reads of it so far.  Pure policy: reads in, byte ranges out.

Asked in this order:
    replay   a load in step with a recorded start is fetched ahead of in that order, and nobody else is asked
    tensors  once the header was read: the tensor that was touched, and how far a stream may run
    streams  who reads in order, forward or backward
    strides  who jumps equally far each time
All are hints: they may cost bytes, never correctness.  `observe` runs for every read of a blob that is not whole, on
the event loop, so it must cost microseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.prefetch.ranges import Ranges
from fusefs.prefetch.record import Record
from fusefs.prefetch.replay import Replay
from fusefs.prefetch.streams import SMALLEST_WINDOW, ReadAhead
from fusefs.prefetch.strides import Strides
from fusefs.prefetch.tensors import SMALL, Tensors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.formats.extents import Extents
    from fusefs.prefetch.streams import Stream
    from fusefs.values.chunks import ChunkList
    from fusefs.values.trace import Start

FEW_CHUNKS = 4
"""A blob of no more chunks is here before anything can be learned about it."""

HEADER_TRIES = 3
"""A header that cannot be had is not asked for with every read."""

_REMEMBERED = 4096
"""Ranges that were said, and that were read, are remembered so that nothing is said again; of more of them all are
forgotten, which costs a look at the chunk map."""


class Prefetch:
    """The policies for one blob with these chunks; windows grow to `largest` bytes.

    A `cold` load is recorded, and replayed when one was `kept` of an earlier load.

    Attributes:
        wants_header: somebody reads what could be tensors, and nobody has looked at the header yet.
    """

    def __init__(self, chunks: ChunkList, largest: int, *, kept: Start | None = None, cold: bool = False) -> None:
        many = len(chunks) > FEW_CHUNKS
        self.wants_header = False
        self._size = chunks.size
        self._largest = largest
        self._streams = ReadAhead(chunks.size, largest, both_ways=True)
        self._strides = Strides(chunks.size)
        self._tensors: Tensors | None = None
        self._header_tries = HEADER_TRIES if many else 0
        self._reading_header = False
        self._record = Record(chunks, kept) if many and cold else None
        self._replay = Replay(kept) if many and cold and kept is not None else None
        self._left = False
        self._read = Ranges()
        self._said = Ranges()

    # The header

    def header_begun(self) -> None:
        """Somebody is looking at the header, and fetches it to its end: until then no stream runs ahead."""
        self.wants_header, self._reading_header = False, True
        self._header_tries -= 1

    def header_read(self, extents: Extents | None) -> None:
        """The header has told where the tensors are; None when the file has none that can be read."""
        self._reading_header = False
        self._header_tries = 0
        if extents is not None and len(extents):
            self._tensors = Tensors(extents, self._size, self._largest)

    def header_failed(self) -> None:
        """The header could not be had now: the next read asks again, a few times."""
        self._reading_header = False

    # Reads

    def observe(self, off: int, size: int, rate: float, *, tight: bool = False) -> list[range]:
        """Take note of a read of [off, off+size), which lies in the blob.

        Args:
            off: offset in bytes.
            size: length in bytes.
            rate: measured bandwidth in bytes per second; what is on its way is at most about a second of it.
            tight: what is fetched may have to leave again before it is read (the disk is full): a small window only.

        Returns:
            The bytes to have next, most wanted first, often none; what was said before is not said again, unless it
            may have left, being `tight`.
        """
        if not self._read.add(range(off, off + size)) and not tight:
            return []  # read before, and here: the same again says nothing new
        if self._record is not None:
            self._record.note(off, size)
        most = SMALLEST_WINDOW if tight else int(min(self._largest, max(SMALLEST_WINDOW, rate)))
        words = None if self._replay is None else self._replayed(self._replay, off, size, most)
        if words is None:
            words = self._guessed(off, size, most, tight=tight)
        return words if tight or not words else self._new(words)

    # The record

    @property
    def record_grown(self) -> bool:
        """True when the record of this load should be kept before the load ends."""
        return self._record is not None and self._record.grown

    def unsaved_record(self) -> Start | None:
        """The start to keep for the next load; None when the one that was kept is better, or nothing has changed."""
        return None if self._record is None else self._record.unsaved(left=self._left)

    def record_saved(self, start: Start) -> None:
        """What `unsaved_record` gave was written."""
        if self._record is not None:
            self._record.saved(start)

    def _replayed(self, replay: Replay, off: int, size: int, most: int) -> list[range] | None:
        words = replay.observe(off, size, most)
        if replay.over:
            self._left = replay.left
            self._replay = None
        return words

    def _guessed(self, off: int, size: int, most: int, *, tight: bool) -> list[range]:
        stream = self._streams.follow(off, size)
        # A lone small read behind the beginning is somebody who looks something up: it costs its chunk alone.
        if self._header_tries and not self._reading_header and (off == 0 or min(stream.extent, stream.taken) >= SMALL):
            self.wants_header = True
        if self._tensors is not None:
            words, believed = self._with_tensors(self._tensors, off, size, stream, most, tight=tight)
        elif self._reading_header:
            return []
        else:
            words, believed = self._along(stream, most, None), stream.believed
        jump = stream.gap is None or stream.gap > 0
        if not words and not believed:
            words = self._strides.observe(off, size, jump=jump, most=most)
        return words

    def _with_tensors(
        self, tensors: Tensors, off: int, size: int, stream: Stream, most: int, *, tight: bool
    ) -> tuple[list[range], bool]:
        """What to have next, and whether the read is explained by that."""
        words = tensors.observe(off, size, stream, most=most, tight=tight)
        bounds = tensors.bounds(off, size, stream, tight=tight)
        if bounds is None:
            return words, size >= SMALL
        return words + self._along(stream, most, bounds), True

    def _along(self, stream: Stream, most: int, bounds: range | None) -> list[range]:
        """The window of a stream; of one that goes backward in pieces, because what is nearest is wanted first."""
        ahead = self._streams.ahead_of(stream, most, bounds, trusted=bounds is not None and not stream.crossed)
        if not stream.backward:
            return [ahead] if ahead else []
        stops = range(ahead.stop, ahead.start, -SMALLEST_WINDOW)
        return [range(max(ahead.start, stop - SMALLEST_WINDOW), stop) for stop in stops]

    def _new(self, words: Iterable[range]) -> list[range]:
        if len(self._said) > _REMEMBERED:
            self._said.clear()
        if len(self._read) > _REMEMBERED:
            self._read.clear()
        return [new for word in words for new in self._said.add(word)]
