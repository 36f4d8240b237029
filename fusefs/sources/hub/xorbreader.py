"""XorbReader: the chunks of one range of a xorb, in order, as they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.xet.xorb import unpacked_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusefs.sources.rangebody import RangeBody
    from fusefs.values.chunks import Buffer
    from fusefs.xet.reconstruction import XorbRange

_PIECE = 256 << 10
"""Bytes that are received at a time: four chunks."""

_NEAR = 1 << 20
"""Bytes that are left when it is time to ask for what comes behind: about what a network has on its way."""


class XorbReader:
    """Of one answer; for one thread.

    Attributes:
        fetch: the range.
        at: index of the chunk that comes next.
    """

    def __init__(self, fetch: XorbRange, body: RangeBody, near_end: Callable[[], None]) -> None:
        """Make one.

        Args:
            fetch: the range.
            body: its bytes.
            near_end: told once, when little is left.
        """
        self.fetch = fetch
        self.at = fetch.first
        self._near_end: Callable[[], None] | None = near_end
        self._body = body
        self._chunks = unpacked_chunks(self._pieces(fetch.part.size), fetch.stop - fetch.first)

    def next(self) -> Buffer:
        """The next chunk unpacked, of which the range must have one; good until the next call.

        Raises:
            InvalidXet: it is no chunk, or there are fewer.
            SourceError: the transport failed.
        """
        data = next(self._chunks)
        self.at += 1
        return data

    def close(self) -> None:
        """Give the connection back, or drop it.  From any thread."""
        self._body.close()

    def _pieces(self, left: int) -> Iterator[Buffer]:
        memory = memoryview(bytearray(min(left, _PIECE)))
        while left:
            got = self._body.readinto(memory)
            left -= got
            if left <= _NEAR and self._near_end is not None:
                near_end, self._near_end = self._near_end, None
                near_end()
            yield memory[:got]
