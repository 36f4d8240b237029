"""Sequential: the window of a reader who goes through a file in order, forward or backward.  Pure policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.prefetch.streams import SMALLEST_WINDOW

if TYPE_CHECKING:
    from fusefs.prefetch.read import Read
    from fusefs.prefetch.streams import ReadAhead


class Sequential:
    """Asked about every read that nobody before it explains; always has the last word."""

    def __init__(self, streams: ReadAhead) -> None:
        self._streams = streams

    def observe(self, read: Read) -> list[range]:
        """The window of the reader that `read` belongs to, once that is believed."""
        return self.window(read)

    def window(self, read: Read, within: range | None = None, *, trusted: bool = False) -> list[range]:
        """The bytes to fetch ahead of the reader, most urgent first.

        Args:
            read: what it has just read.
            within: what must not be left; None for the whole file.
            trusted: it need not be believed first.
        """
        ahead = self._streams.ahead_of(read.stream, read.most, within, trusted=trusted)
        if not read.stream.backward:
            return [ahead] if ahead else []
        # In pieces, because what is nearest is wanted first.
        stops = range(ahead.stop, ahead.start, -SMALLEST_WINDOW)
        return [range(max(ahead.start, stop - SMALLEST_WINDOW), stop) for stop in stops]
