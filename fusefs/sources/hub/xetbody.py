"""XetBody: the bytes of a range of a file, unpacked from xorbs, for whoever proves them otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.errors import Cancelled

if TYPE_CHECKING:
    from fusefs.sources.hub.xetstream import XetStream
    from fusefs.values.chunks import Buffer, Chunk


class XetBody:
    """A Body."""

    def __init__(self, stream: XetStream, given: Chunk) -> None:
        self.given = given
        self._stream = stream
        self._off = given.start
        self._rest = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`."""
        if self._stream.closed:  # also with bytes left here
            raise Cancelled("the range was closed")
        if not buffer or self._off == self.given.stop:
            return 0
        while not self._rest:
            start, data = self._next()
            self._rest = memoryview(data)[max(0, self._off - start) : self.given.stop - start]
        got = min(len(buffer), len(self._rest))
        buffer[:got] = self._rest[:got]
        self._rest = self._rest[got:]
        self._off += got
        return got

    def close(self) -> None:
        """See `Body.close`."""
        self._stream.close()

    def _next(self) -> tuple[int, Buffer]:
        """Where the next chunk of Xet begins, and its bytes, which are good until the one behind it is asked for."""
        data = self._stream.next()
        return self._stream.off - len(data), data
