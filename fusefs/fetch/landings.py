"""Landings: chunks of one span that are over, on their way from the worker's thread to the event loop.

A chunk's lock is given back as soon as the chunk is over.  But every call from a thread wakes the event loop, which
costs it more than what is to be done about a chunk.  So what somebody waits for is handed over at once, and the rest
with it, or together after a while, or when the span ends.

No wake-up is lost.  The worker adds a chunk, and then looks whether anybody waits for it.  Who waits counts himself
first, and then has handed over what was added (`Flight.wait`).  One of the two sees the other.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import trio

    from fusefs.fetch.flight import Flight

    Over = tuple[Flight, BaseException | None]
    """A flight that is over, and why it failed or None."""

_LATE = 0.1
"""Seconds after which a chunk is handed over for which nobody waits.  The rate is measured in steps of as many, and the
running hash follows; a worker on a fast link has ended its span by then."""


class Landings:
    """Of one worker; `add` is for its thread.

    Args:
        flights: those of the worker, by chunk.
        loop: runs `land`.
        land: takes what is over, on the event loop.
    """

    def __init__(
        self,
        flights: Mapping[int, Flight],
        loop: trio.lowlevel.TrioToken,
        land: Callable[[Sequence[Over]], None],
    ) -> None:
        self._flights = flights
        self._loop = loop
        self._land = land
        self._over: deque[Over] = deque()
        self._due = time.monotonic() + _LATE

    def add(self, index: int, error: BaseException | None) -> None:
        """A chunk is over: it is marked, or `error` says why not.

        Failures come with the end of the span, which is handed over anyway.
        """
        flight = self._flights[index]
        # Here, and not with the landing: what is on disk may go again at once, and on a small disk it has to.  The
        # flight stays in its table until then, so that nobody of this process takes the lock meanwhile.
        flight.chunker.unlock(index)
        flight.hand_over = self.hand_over
        self._over.append((flight, error))
        # No look at who waits before this line.
        now = time.monotonic()
        if flight.waiting or now >= self._due:
            self._due = now + _LATE
            self._loop.run_sync_soon(self.hand_over)

    def hand_over(self) -> None:
        """Land what is over by now (on the event loop)."""
        over = []
        while self._over:
            flight, error = self._over.popleft()
            flight.hand_over = None
            over.append((flight, error))
        if over:
            self._land(over)
