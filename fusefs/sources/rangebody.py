"""RangeBody: the bytes of one range out of an HTTP answer, which may hold more than them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.errors import TransportError, WrongResponse

if TYPE_CHECKING:
    from fusefs.net.transport import Response
    from fusefs.values.chunks import Chunk

_SHORT = 1 << 16
"""Bytes behind a range that are read to keep the connection; more would cost more than a new one."""

_PROGRESS = 1 << 16
"""Bytes of a whole blob for which it gets the time of one answer anew, because it may have a hundred gigabytes."""


class RangeBody:
    """A Body.

    Args:
        response: its head has been checked.
        sent: the bytes of the blob that it brings.
        given: those of them that are wanted.
        stream: it has to be one answer, however long that takes, because no part of it can be had by itself.
    """

    def __init__(self, response: Response, sent: Chunk, given: Chunk, *, stream: bool = False) -> None:
        self.given = given
        self._response = response
        self._before = given.start - sent.start
        self._left = given.size
        self._behind = sent.stop - given.stop
        self._stream = stream
        self._gained = 0

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`."""
        if not buffer or not self._left:
            return 0
        while True:
            got = self._response.readinto(buffer[: self._before or self._left])
            if got == 0:
                left = self._before + self._left
                raise TransportError(f"the body ended {left} bytes too early", source=self._response.source)
            if self._stream:
                self._go_on(got)
            if not self._before:
                break
            self._before -= got
        self._left -= got
        if self._left == 0:
            self._end()
        return got

    def close(self) -> None:
        """See `Body.close`."""
        self._response.close()

    def _go_on(self, got: int) -> None:
        self._gained += got
        if self._gained >= _PROGRESS:
            self._gained = 0
            self._response.go_on()

    def _end(self) -> None:
        response = self._response
        if 0 < self._behind <= _SHORT:
            response.discard()
            return
        # Without a Content-Length only one more read tells that this was the end.
        if not self._behind and not response.complete and response.readinto(memoryview(bytearray(1))):
            raise WrongResponse("the body goes on behind the end of its range", source=response.source)
        response.close()
