"""Retrying: the one place that tries again, as a Source round a Source.

What may be tried again says so itself (`temporary`).  The wait before try *n* is drawn evenly from 0 to
0.1 s x 2^n, at most 15 s (full jitter: many readers that failed together do not come back together), or longer when
the server names a time.  A range is not begun anew: its Body asks for the bytes that are still missing.

Every call ends: a call that yields nothing is over after `timeout`.  For a Body the time begins anew with the read
after each `_PROGRESS` bytes, because a large span over a slow link takes longer than any sensible timeout, and a byte
a second must not count as life.  An answer that is wrong in the same way `_SETTLED` times running is the server's
last word.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from fusefs.chunks import Blob, Chunk, ChunkList
from fusefs.errors import Cancelled, FusefsError, WrongResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.names import Name
    from fusefs.sources.base import Body, Source
    from fusefs.stats import Counters

_FIRST, _LONGEST = 0.1, 15.0
_SETTLED = 6
_PROGRESS = 1 << 16

MANIFEST_TIMEOUT = 15.0
"""Seconds for a manifest at most: a person waits for it, or the one in the cache could be used (P7)."""

T = TypeVar("T")


class Clock(Protocol):
    """Time, so that a test can have its own."""

    def now(self) -> float:
        """Seconds, monotonic."""

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Return after `seconds`, or when `event` is set."""

    def jitter(self, longest: float) -> float:
        """A number from 0 to `longest`."""


class SystemClock:
    """The real one."""

    def now(self) -> float:
        """See `Clock.now`."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> None:
        """See `Clock.wait`."""
        event.wait(seconds)

    def jitter(self, longest: float) -> float:
        """See `Clock.jitter`."""
        return random.uniform(0, longest)  # noqa: S311  # spreads load, keeps no secret


class _Patience:
    """How long one call goes on trying."""

    def __init__(self, clock: Clock, timeout: float, counters: Counters, stopped: threading.Event) -> None:
        self._clock = clock
        self._timeout = timeout
        self._counters = counters
        self._stopped = stopped
        self._deadline: float | None = None
        self.renew()

    def begin(self) -> None:
        """Somebody waits from now on, unless somebody did already."""
        if self._deadline is None:
            self._deadline = self._clock.now() + self._timeout

    def renew(self) -> None:
        """Something was gained, and nobody waits now: the time begins anew with `begin`."""
        self._deadline = None
        self._tries = 0
        self._last = ""
        self._same = 0

    def pause(self, error: FusefsError) -> None:
        """Wait before the next try after `error`.

        Raises:
            FusefsError: `error` itself, when there is no next try.
            Cancelled: while it waited.
        """
        if self._stopped.is_set():
            raise Cancelled("the source is closed") from error
        self._same = self._same + 1 if str(error) == self._last else 1
        self._last = str(error)
        if not error.temporary or (isinstance(error, WrongResponse) and self._same >= _SETTLED):
            raise error
        seconds = self._clock.jitter(min(_LONGEST, _FIRST * 2 ** min(self._tries, 20)))
        seconds = max(seconds, getattr(error, "retry_after", None) or 0.0)
        self.begin()
        assert self._deadline is not None
        if self._clock.now() + seconds >= self._deadline:
            raise error
        self._tries += 1
        self._counters.add("retries")
        self._clock.wait(self._stopped, seconds)
        if self._stopped.is_set():
            raise Cancelled("the source is closed") from error


class Retrying:
    """A Source that tries `source` again where that may help, and counts `requests` and `retries`."""

    def __init__(self, source: Source, *, timeout: float, counters: Counters, clock: Clock | None = None) -> None:
        self.label = source.label
        self._source = source
        self._timeout = timeout
        self._counters = counters
        self._clock = clock or SystemClock()
        self._stopped = threading.Event()
        self._bodies: set[_ResumingBody] = set()
        self._lock = threading.Lock()

    def manifest(self, name: Name) -> bytes:
        """See `Source.manifest`."""
        patience = self._patience(min(self._timeout, MANIFEST_TIMEOUT), self._stopped)
        return self._tried(lambda: self._source.manifest(name), patience)

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """See `Source.chunk_list`."""
        return self._tried(lambda: self._source.chunk_list(name, blob), self._patience(self._timeout, self._stopped))

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> Body:
        """See `Source.open_range`.  The first request is made here, so that "not found" is known at once."""
        closed = threading.Event()
        patience = self._patience(self._timeout, closed)

        def open_rest(rest: Chunk) -> Body:
            return self._tried(lambda: self._source.open_range(name, blob, rest), patience)

        body = _ResumingBody(open_rest, chunk, patience, closed, self._bodies.discard)
        with self._lock:
            self._bodies.add(body)
        try:
            body.start()
        except BaseException:
            body.close()
            raise
        return body

    def close(self) -> None:
        """See `Source.close`; whoever waits for the next try is woken."""
        self._stopped.set()
        with self._lock:
            bodies = list(self._bodies)
        for body in bodies:
            body.close()
        self._source.close()

    def _patience(self, timeout: float, stopped: threading.Event) -> _Patience:
        patience = _Patience(self._clock, timeout, self._counters, stopped)
        patience.begin()
        return patience

    def _tried(self, call: Callable[[], T], patience: _Patience) -> T:
        while True:
            if self._stopped.is_set():
                raise Cancelled("the source is closed")
            self._counters.add("requests")
            try:
                return call()
            except FusefsError as exc:
                patience.pause(exc)


class _ResumingBody:
    """A Body that goes on at the byte where it broke."""

    def __init__(
        self,
        open_rest: Callable[[Chunk], Body],
        chunk: Chunk,
        patience: _Patience,
        closed: threading.Event,
        on_close: Callable[[_ResumingBody], None],
    ) -> None:
        self._open_rest = open_rest
        self._off = chunk.start
        self._stop = chunk.stop
        self._gained = 0
        self._patience = patience
        self._closed = closed
        self._on_close = on_close
        self._inner: Body | None = None
        self._lock = threading.Lock()

    def start(self) -> Body:
        """Ask for what is missing.

        Raises:
            FusefsError: it cannot be had.
            Cancelled: `close` was called.
        """
        inner = self._open_rest(Chunk(self._off, self._stop - 1))
        with self._lock:
            if not self._closed.is_set():
                self._inner = inner
                return inner
        inner.close()
        raise Cancelled("the range was closed")

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`."""
        if not buffer or self._off == self._stop:
            return 0
        self._patience.begin()
        while True:
            if self._closed.is_set():
                raise Cancelled("the range was closed")
            inner = self._inner or self.start()
            try:
                return self._count(inner.readinto(buffer))
            except FusefsError as exc:
                self._inner = None
                inner.close()
                self._patience.pause(exc)

    def close(self) -> None:
        """See `Body.close`."""
        with self._lock:
            self._closed.set()
            inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()
        self._on_close(self)

    def _count(self, got: int) -> int:
        self._off += got
        self._gained += got
        if self._gained >= _PROGRESS:
            self._gained = 0
            self._patience.renew()
        return got
