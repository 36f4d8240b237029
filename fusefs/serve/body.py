"""FileResponse: a range of a file over HTTP, in pieces, as long as the file is what it was and the client is there."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Protocol

import trio
from starlette.responses import Response

from fusefs.offers.stamp import Stamp
from fusefs.values.settings import KIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

    from fusefs.values.chunks import Chunk

log = logging.getLogger(__name__)

PIECE = 256 * KIB
"""Bytes read and sent at a time, and what one busy connection costs in memory: a piece is copied into the kernel alone.

Hashing one takes about three times as long as handing it to a thread and back."""


class FileSource(Protocol):
    """The bytes of an answer."""

    async def readinto(self, buffer: memoryview, off: int) -> int:
        """Fill the front of `buffer` and say how many bytes; 0 to end the answer short, which was logged."""

    def close(self) -> None:
        """Let go of the file."""


class OpenFile:
    """A file descriptor and what the file must look like.

    Attributes:
        fd: open for reading.
        stamp: the size and times that belong to the digest.
        label: its name, for the log.
    """

    def __init__(self, fd: int, stamp: Stamp, label: str) -> None:
        self.fd = fd
        self.stamp = stamp
        self.label = label

    def close(self) -> None:
        """Close it once."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    async def readinto(self, buffer: memoryview, off: int) -> int:
        """Fill the front of `buffer`; inline when the page cache has it, else in a worker thread.

        Returns:
            How many bytes; 0 when the file is not what it was, which is logged.
        """
        try:
            count = os.preadv(self.fd, [buffer], off, os.RWF_NOWAIT)
        except OSError:  # BlockingIOError, or a file system that knows no RWF_NOWAIT
            count = 0
        try:
            if not count:
                count = await trio.to_thread.run_sync(os.preadv, self.fd, [buffer], off)
            return self._checked(count)
        except OSError as exc:
            return self._unreadable(exc)

    def read(self, buffer: memoryview, off: int) -> int:
        """As `readinto`, but blocking."""
        try:
            return self._checked(os.preadv(self.fd, [buffer], off))
        except OSError as exc:
            return self._unreadable(exc)

    def _checked(self, count: int) -> int:
        """`count`, or 0 when the file is not what it was.

        Looked at after the read: bytes that were changed before they were read are never sent.
        """
        if count and Stamp.of(os.fstat(self.fd)) == self.stamp:
            return count
        log.warning("%s changed while it was sent; the answer was cut short.", self.label)
        return 0

    def _unreadable(self, exc: OSError) -> int:
        """Log why; 0 bytes."""
        log.warning("%s cannot be read: %s.", self.label, exc.strerror)
        return 0


class FileResponse(Response):
    """Sends `chunk` of `file` (None: nothing), and closes the file whatever happens."""

    def __init__(self, file: FileSource, chunk: Chunk | None, status: int, headers: dict[str, str]) -> None:
        super().__init__(None, status, headers)
        self._file = file
        self._chunk = chunk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; the ASGI side of a Response."""
        try:
            async with trio.open_nursery() as nursery:
                gone = trio.Event()
                nursery.start_soon(_notice_when_gone, receive, gone)
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                if self._chunk is None or scope["method"] == "HEAD":
                    await send({"type": "http.response.body", "body": b""})
                else:
                    await self._send_chunk(self._chunk, send, gone)
                nursery.cancel_scope.cancel()
        finally:
            self._file.close()

    async def _send_chunk(self, chunk: Chunk, send: Send, gone: trio.Event) -> None:
        off = chunk.start
        buffer = memoryview(bytearray(min(PIECE, chunk.size)))
        while off < chunk.stop and not gone.is_set():
            count = await self._file.readinto(buffer[: chunk.stop - off], off)
            if not count:
                return  # an answer that ends before its Content-Length is the only way left to say so
            off += count
            # The kernel has the piece when `send` returns, so that the buffer can be used again.
            await send({"type": "http.response.body", "body": buffer[:count], "more_body": off < chunk.stop})


class TextResponse(Response):
    """Sends pieces of text that are made as they are sent.

    Not starlette's StreamingResponse: that cancels itself when the end of the answer disconnects, amid the server's
    own tidying up, and a connection that should be closed then stays open.
    """

    media_type = "text/plain"

    def __init__(self, pieces: Iterator[bytes], headers: dict[str, str]) -> None:
        """`headers` hold the Content-Length."""
        super().__init__(None, 200, headers)
        self._pieces = pieces

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer; the ASGI side of a Response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while piece := await trio.to_thread.run_sync(next, self._pieces, b""):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _notice_when_gone(receive: Receive, gone: trio.Event) -> None:
    """Set `gone`.  Not a cancellation: the end of an answer disconnects too, while `send` still tidies up."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()
