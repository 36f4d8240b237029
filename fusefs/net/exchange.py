"""Exchange: one request on its way, so that another thread, or its deadline, can end it at any point.

A thread that waits for the network sits in connect, in the handshake, in the headers or in the body.  What ends all
four is the same: `shutdown` on the socket.  urllib3's own `HTTPResponse.shutdown` exists only once the headers are
there, and on TLS it drops the session under the reader, who would then see cipher text.  So every connection keeps a
second descriptor of its socket (`Guard`), made before it connects, and a flight knows the guard it depends on.

`Exchanges` also holds the clock: socket timeouts are about one silent wait, and a server that sends a byte a second
never runs into them.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Protocol

from fusefs.errors import Cancelled, FusefsError, StallTimeout

if TYPE_CHECKING:
    import socket

    from fusefs.net.url import Url

current: ContextVar[Exchange | None] = ContextVar("current", default=None)
"""The flight for which this thread is inside urllib3."""


_MAX_SHOWN = 200
"""Characters of a URL in a list of requests."""


class Hold(Protocol):
    """What a flight waits on, and what ends the wait: a socket's `Guard`, or a name that is being resolved."""

    def hold(self) -> None:
        """One more holder."""

    def drop(self) -> None:
        """One holder less."""

    def shut(self) -> None:
        """End the wait."""


class Raw(Protocol):
    """A body as it comes from the socket; see `fusefs.net.connection`."""

    length: int | None

    def receive_into(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` with what one receive gives; 0 at the end or when the connection ended."""

    def isclosed(self) -> bool:
        """Whether the body has been read to its end."""


class Guard:
    """A second descriptor of one socket, held by the connection and by the flight that uses it.

    It is closed when both have let go: http.client gives up a connection that will not be kept alive before its
    body is read, and the socket must not stay open behind either of them.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock.dup()
        self._holders = 1
        self._lock = threading.Lock()

    def hold(self) -> None:
        """One more holder."""
        with self._lock:
            self._holders += 1

    def drop(self) -> None:
        """One holder less; the last one closes the descriptor."""
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._sock.close()

    def shut(self) -> None:
        """End whatever waits on the socket.  Under the lock, so that the descriptor cannot be somebody else's."""
        with self._lock, suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)


class Exchange:
    """One request: from before it connects until its body has been read or given up.

    Attributes:
        deadline: monotonic time at which it is ended.
        raw: the response that urllib3 wraps, once there is one.
        url: where the request goes; None until it does.
        received: bytes of the body so far.
        began: monotonic time.
        no_private: only a public address may be connected to.
        chosen_by: the registry that led to the host; empty where a person named it.
        public: the address that was connected to is a public one.
        through: the proxy that is asked in the host's place, for messages; empty where there is none.
        scheme: `http` or `https`.
        expected: the host has answered before, or no person named it: its scheme is right.
        ended: why it was ended from outside; None when it was not.
    """

    def __init__(self, deadline: float, timeout: float) -> None:
        self.deadline = deadline
        self.raw: Raw | None = None
        self.url: Url | None = None
        self.received = 0
        self.began = time.monotonic()
        self.no_private = False
        self.chosen_by = ""
        self.public = False
        self.through = ""
        self.scheme = ""
        self.expected = False
        self._timeout = timeout
        self._guard: Hold | None = None
        self.ended: type[FusefsError] | None = None
        self._lock = threading.Lock()

    @property
    def target(self) -> str:
        """Host and path on one short line, for a person; the query of a signed URL is a secret."""
        shown = "" if self.url is None else f"{self.url.origin}{self.url.path}"
        return shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "…"

    def watch(self, guard: Hold) -> None:
        """From now on the flight depends on what `guard` ends."""
        guard.hold()
        with self._lock:
            before, self._guard = self._guard, guard
            ended = self.ended is not None
        if before is not None:
            before.drop()
        if ended:
            guard.shut()

    def extend(self) -> None:
        """It may take its whole time again from now on.  One that is being ended meanwhile ends all the same."""
        self.deadline = time.monotonic() + self._timeout

    def abort(self, reason: type[FusefsError] = Cancelled) -> None:
        """End it; the first reason counts."""
        with self._lock:
            if self.ended is None:
                self.ended = reason
            guard = self._guard
        if guard is not None:
            guard.shut()

    def land(self) -> None:
        """Let go of the socket.  Idempotent."""
        with self._lock:
            guard, self._guard = self._guard, None
        if guard is not None:
            guard.drop()

    def error(self, source: str) -> FusefsError:
        """What to raise when it was `ended` from outside."""
        if self.ended is StallTimeout:
            return StallTimeout(f"no complete answer within {self._timeout:g} s", source=source)
        return Cancelled("the request was cancelled")


class Exchanges:
    """All flights of one transport, and the thread that ends those whose time is over."""

    def __init__(self) -> None:
        self._flights: set[Exchange] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes = float("inf")
        self._closed = False

    def start(self, timeout: float, *, until: float | None = None) -> Exchange:
        """A new flight that ends after `timeout` seconds, or at the monotonic time `until`.

        Raises:
            Cancelled: the transport is closed.
        """
        flight = Exchange(time.monotonic() + timeout if until is None else until, timeout)
        with self._changed:
            if self._closed:
                raise Cancelled("the source is closed")
            self._flights.add(flight)
            if self._thread is None:
                self._thread = threading.Thread(target=self._expire, name="fusefs-deadlines", daemon=True)
                self._thread.start()
            if flight.deadline < self._wakes:
                self._changed.notify_all()
        return flight

    def end(self, flight: Exchange) -> None:
        """The flight is over.  Idempotent."""
        flight.land()
        with self._changed:
            self._flights.discard(flight)

    def close(self) -> None:
        """Cancel every flight and start no more."""
        with self._changed:
            self._closed = True
            flights = list(self._flights)
            self._changed.notify_all()
        for flight in flights:
            flight.abort()
            flight.land()

    def lines(self) -> list[str]:
        """One line a flight, oldest first."""
        with self._changed:
            flights = sorted(self._flights, key=lambda flight: flight.began)
        now = time.monotonic()
        return [f"{flight.target}: {flight.received} bytes in {now - flight.began:.1f} s" for flight in flights]

    def _expire(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for flight in self._flights:
                    if flight.deadline <= now:
                        flight.abort(StallTimeout)
                        flight.deadline = float("inf")
                self._wakes = min((flight.deadline for flight in self._flights), default=float("inf"))
                self._changed.wait(min(self._wakes - now, threading.TIMEOUT_MAX))
