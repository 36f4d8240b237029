"""Read-ahead: how far to fetch ahead of a sequential reader.  Pure policy: reads in, a byte range out.

Streams are found per file, not per handle: page faults of a mapping carry no useful handle, and the kernel sends the
requests of one reader out of order.  Random access never starts a stream.
"""

from __future__ import annotations

from dataclasses import dataclass

from fusefs.values.settings import KIB, MIB

SMALLEST_WINDOW = 8 * MIB
"""The window of a stream that has just been recognised; it doubles as the reader moves on."""

_PATIENCE = 4 * MIB
"""Bytes read in order before a stream is believed: one tensor or one header is often shorter, and whoever reads just
that should not pay for what lies behind it."""

_SLACK = 2 * MIB
"""How far from a stream's end a read may begin and still belong to it: the kernel has several requests in flight and
sends them in any order."""

_STREAMS = 16
"""Streams remembered per file; the one least recently used is forgotten."""

_PAUSE = 8 * MIB
"""Bytes that others read meanwhile and after which it is chance that a stream goes on."""

_RUN = 512 * KIB
"""Bytes that may be left out within one run of a stream: two windows of the kernel."""

PAGE = 4096
"""What the kernel reads at least."""

NOTHING = range(0)


def middle(off: int, size: int) -> int:
    """The byte that was wanted when [off, off+size) is asked for.

    A page of a mapping that is touched is read with as much before it as behind it.  It may hold the end of one thing
    and the beginning of the next: that one, because what is read in order begins there.  The beginning of a file has
    nothing before it, and is read for its own sake.
    """
    return min(off + size // 2 + PAGE, off + size) - 1 if off else 0


@dataclass(slots=True, eq=False, weakref_slot=True)
class Stream:
    """One sequential reader.  Others may look at it, and keep what they make of it by its identity.

    Attributes:
        low: offset of the first byte that it has read.
        high: offset behind the last one; between the two there may be holes.
        below: all from here to `low` is on its way, for a reader that goes backward.
        ahead: all from `high` to here is on its way, for one that goes forward.
        run: how many runs it has begun before: what it leaves out between two of them is too much for one.
        origin: the `middle` of the read with which its present run began.
        gap: bytes between its last read and what it had read before; None for its first read.
        rose: bytes by which `high` has risen.
        fell: bytes by which `low` has fallen.
        taken: bytes that it has asked for: less than lies between `low` and `high` when it jumps, more when it reads
            again.
        window: bytes to keep on their way; 0 until it is believed.
        clock: bytes that all readers of the file had read when it read last.
        pauses: how often others have read much meanwhile, in this run.
    """

    low: int
    high: int
    below: int
    ahead: int
    origin: int
    run: int = 0
    gap: int | None = None
    rose: int = 0
    fell: int = 0
    taken: int = 0
    window: int = 0
    clock: int = 0
    pauses: int = 0

    @property
    def backward(self) -> bool:
        """True for a reader that goes from the end of the file to its beginning."""
        return self.fell > self.rose

    @property
    def extent(self) -> int:
        """Bytes between its ends."""
        return self.high - self.low

    @property
    def believed(self) -> bool:
        """True when it has read enough, and most of what lies between its ends."""
        return min(self.extent, self.taken) >= _PATIENCE and 2 * self.taken >= self.extent


class ReadAhead:
    """The sequential readers of one file of `size` bytes; windows grow to `largest` bytes.

    With `both_ways` a reader that goes backward is a stream, too.
    """

    def __init__(self, size: int, largest: int, *, both_ways: bool = False) -> None:
        self._size = size
        self._largest = largest
        self._both_ways = both_ways
        self._streams: list[Stream] = []
        self._clock = 0

    def observe(self, off: int, size: int, rate: float) -> range:
        """Take note of a read of [off, off+size) and say which bytes to fetch ahead of it.

        Args:
            off: offset in bytes.
            size: length in bytes.
            rate: measured bandwidth in bytes per second; a window is at most about a second of it.

        Returns:
            The bytes to have next, often none; nothing is returned twice.
        """
        return self.ahead_of(self.follow(off, size), rate)

    def follow(self, off: int, size: int) -> Stream:
        """The stream that a read of [off, off+size) continues, or a new one."""
        end = off + size
        stream = self._stream_of(off, end)
        if stream is None:
            stream = Stream(off, end, off, end, origin=middle(off, size))
            self._streams.append(stream)
            del self._streams[:-_STREAMS]
        else:
            stream.gap = max(0, off - stream.high, stream.low - end)
            if self._clock - stream.clock > _PAUSE:
                stream.pauses += 1
            # Of a block that is read backward the kernel asks for the beginning first: what is between comes next.
            if stream.gap > (_SLACK if stream.backward else _RUN):
                stream.origin, stream.pauses = middle(off, size), 0
                stream.run += 1
            if end > stream.high:
                stream.rose += end - stream.high
                stream.high = end
            if off < stream.low:
                stream.fell += stream.low - off
                stream.low = off
        self._clock += size
        stream.clock = self._clock
        stream.taken += size
        return stream

    def ahead_of(self, stream: Stream, rate: float, within: range | None = None, *, trusted: bool = False) -> range:
        """The bytes to fetch ahead of `stream`, which has just read.

        Args:
            stream: from `follow`.
            rate: as in `observe`.
            within: what must not be left; None for the whole file.
            trusted: it need not be believed first.
        """
        if not (trusted or stream.believed):
            return NOTHING
        within = range(self._size) if within is None else within
        on_its_way = stream.low - stream.below if stream.backward else stream.ahead - stream.high
        if stream.window and on_its_way > stream.window // 2:
            return NOTHING
        window = min(int(min(self._largest, max(SMALLEST_WINDOW, rate))), stream.window * 2 or SMALLEST_WINDOW)
        if stream.backward:
            ahead = range(max(within.start, stream.low - window), min(stream.below, stream.low))
        else:
            ahead = range(max(stream.ahead, stream.high), min(within.stop, stream.high + window))
        if not ahead:
            return NOTHING
        stream.window = window
        if stream.backward:
            stream.below = ahead.start
        else:
            stream.ahead = ahead.stop
        return ahead

    def _stream_of(self, off: int, end: int) -> Stream | None:
        """The stream that this read continues; it becomes the most recently used."""
        streams = self._streams
        slack = max(_SLACK, end - off)
        # The one used last first: a reader that comes past where others have been stays the reader that it is.
        for i in range(len(streams) - 1, -1, -1):
            stream = streams[i]
            if -slack <= off - stream.high <= _SLACK and not (stream.window and stream.backward):
                break
            if -slack <= stream.low - end <= _SLACK and self._both_ways and (stream.backward or not stream.window):
                break
        else:
            return None
        streams.append(streams.pop(i))
        return stream
