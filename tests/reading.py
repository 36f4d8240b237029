"""Reading from sources in tests, a clock that never sleeps, and running something in another thread."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Generic, TypeVar

from fusefs.values.chunks import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.sources.base import Body, Source
    from fusefs.values.chunks import Blob
    from fusefs.values.names import Name

T = TypeVar("T")


def read_body(body: Body, size: int, *, piece: int = 1 << 20) -> bytes:
    """All of a body into `size` bytes, by reads of at most `piece` bytes; whatever came, when it ends early."""
    data = memoryview(bytearray(size))
    off = 0
    while got := body.readinto(data[off : off + piece]):
        off += got
    return bytes(data[:off])


def read_range(source: Source, name: Name, blob: Blob, start: int, end: int, *, piece: int = 1 << 20) -> bytes:
    """The bytes start to end, inclusive."""
    with closing(source.open_range(name, blob, Chunk(start, end))) as body:
        return read_body(body, end - start + 1, piece=piece)


def read_blob(source: Source, name: Name, blob: Blob) -> bytes:
    """The whole blob."""
    return read_range(source, name, blob, 0, blob.size - 1)


class FakeClock:
    """Time that passes only in waits; jitter is always the longest.

    Attributes:
        waits: the seconds of every wait.
        on_wait: called in every wait.
    """

    def __init__(self) -> None:
        self.time = 1000.0
        self.waits: list[float] = []
        self.on_wait: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.time

    def wait(self, event: threading.Event, seconds: float) -> None:
        assert not event.is_set()
        self.waits.append(seconds)
        self.time += seconds
        self.on_wait()

    def jitter(self, longest: float) -> float:
        return longest


class InThread(Generic[T]):
    """`call` in a thread of its own; `result` waits for it and gives what it returned or raised."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def result(self, timeout: float = 5) -> T:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "it is still at it"
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._call())
        except Exception as exc:  # told to whoever asks for the result
            self._error = exc
