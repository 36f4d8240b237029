"""BucketBody: the bytes of one range of an object, as they arrive piece by piece."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from fusefs.errors import Cancelled, TransportError, WrongResponse

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from fusefs.sources.tree.looped import Call
    from fusefs.values.chunks import Chunk


class Calls(Protocol):
    """Who makes calls, and says what came of them (`fusefs.sources.tree.bucket`)."""

    label: str

    def begin(self, work: Coroutine[Any, Any, Any], place: str) -> Call:
        """Have something done for an object."""

    def result(self, call: Call, place: str) -> Any:
        """What came of it.  Blocking."""


class BucketBody:
    """The bytes of one range of an object; a Body."""

    def __init__(self, files: Calls, place: str, chunk: Chunk, stream: Any) -> None:
        self.given = chunk
        self._label = files.label
        self._left = chunk.size
        self._piece = memoryview(b"")
        self._pieces = _Pieces(files, stream, place)

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`."""
        if not buffer or not self._left:
            return 0
        if not self._piece:
            self._piece = memoryview(self._pieces(self._left))
            if not self._piece:
                raise TransportError(f"the body ended {self._left} bytes too early", source=self._label)
            if len(self._piece) > self._left:
                raise WrongResponse("the body goes on behind the end of its range", source=self._label)
        got = min(len(buffer), len(self._piece))
        buffer[:got] = self._piece[:got]
        self._piece = self._piece[got:]
        self._left -= got
        return got

    def close(self) -> None:
        """See `Body.close`."""
        self._pieces.close()
        self._piece = memoryview(b"")


class _Pieces:
    """The pieces of an answer, one a call; nothing at its end.  The next one comes while the last one is hashed."""

    def __init__(self, files: Calls, stream: Any, place: str) -> None:
        self._files = files
        self._stream = stream
        self._place = place
        self._call: Call | None = None
        self._closed = threading.Event()

    def __call__(self, left: int) -> bytes:
        """The next piece of an answer that has `left` bytes more.  Blocking."""
        piece = bytes(self._files.result(self._call or self._begin(), self._place))
        self._call = None
        if 0 < len(piece) < left:
            self._begin()
        return piece

    def _begin(self) -> Call:
        stream = self._stream
        if self._closed.is_set() or stream is None:
            raise Cancelled("the range was closed")

        async def piece() -> bytes:
            try:
                return bytes(await anext(stream))
            except StopAsyncIteration:
                return b""

        self._call = call = self._files.begin(piece(), self._place)
        if self._closed.is_set():  # by another thread, which could not see the call yet
            call.cancel()
        return call

    def close(self) -> None:
        self._closed.set()
        call, self._call, self._stream = self._call, None, None
        if call is not None:
            call.cancel()
