"""HeaderWatch: when to look at the header of a file, which tells where its tensors are.  Pure policy.

A lone small read behind the beginning is somebody who looks something up: it costs its chunk alone, and no header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.prefetch.tensors import SMALL

if TYPE_CHECKING:
    from fusefs.prefetch.read import Read

HEADER_TRIES = 3
"""A header that cannot be had is not asked for with every read."""


class HeaderWatch:
    """Of one file, which begins at the byte `start` of its blob; `tries` times at most the header is wanted.

    Attributes:
        wanted: somebody reads what could be tensors, and nobody has looked at the header yet.
    """

    def __init__(self, start: int = 0, tries: int = HEADER_TRIES) -> None:
        self.wanted = False
        self._start = start
        self._tries = tries
        self._reading = False

    def observe(self, read: Read) -> list[range] | None:
        """See whether `read` calls for the header; while that is being read nobody runs ahead, perhaps past it."""
        if self._reading:
            return []
        stream = read.stream
        if self._tries and (read.off == self._start or min(stream.extent, stream.taken) >= SMALL):
            self.wanted = True
        return None

    def begun(self) -> None:
        """Somebody is looking at the header, and fetches it to its end."""
        self.wanted, self._reading = False, True
        self._tries -= 1

    def failed(self) -> None:
        """The header could not be had now: the next read asks again, a few times."""
        self._reading = False

    def done(self) -> None:
        """The header has been read, or there is none: it is not asked for any more."""
        self._reading = False
        self._tries = 0
