"""ConcurrencyLimit: how many requests prefetch may have in flight.  Pure policy: bytes and times in, a number out.

A request in flight takes a share of the link, and a place in the queue, from a reader who waits.  So prefetch has only
as many as fill the link.  The limit climbs and falls by trial: one more is kept if more bytes arrive with it, one less
is kept if no fewer do.  A server that gives each connection a fixed rate gets all of them, a saturated link a few.
"""

from __future__ import annotations

import math

FIRST = 3
"""Requests at the start: one waits for its answer and one for its last bytes while the third one fills the link."""

FEWEST = 2

_TRIAL = 0.3
"""Seconds for which a limit is measured."""

_SETTLING = 0.1
"""Seconds after a change that are not measured: a new request has to be answered first."""

_GAIN, _LOSS = 1.08, 0.96
"""The rate with one request more, or one less, against the rate before that keeps it; rates vary by some per cent."""

_COURTESY = 1.0
"""Seconds for which prefetch has half, after somebody has begun to wait elsewhere: who reads here and there comes again
sooner than a span of prefetch ends."""

_PAUSES = (1.0, 16.0)
"""Seconds between two trials: at first, and at most, when nothing changes."""


class ConcurrencyLimit:
    """The limit at one host.

    Attributes:
        allowed: how many requests prefetch may have in flight now.

    Args:
        most: the highest limit.
        steady: it stays as it is at the start.
    """

    def __init__(self, most: int, *, steady: bool = False) -> None:
        self._steady = steady
        self._most = max(1, most)
        self.allowed = min(FIRST, self._most)
        self._settled = self.allowed
        self._rate = 0.0
        self._pause = _PAUSES[0]
        self._next = 0.0  # when something is tried again
        self._up = True
        self._since = 0.0
        self._bytes = 0
        self._idle = True
        self._until = -math.inf  # somebody waits elsewhere until then

    def starved(self) -> None:
        """There is less to fetch than the limit allows: what arrives now says nothing about the link."""
        self._idle = True

    def landed(self, size: int, now: float) -> None:
        """`size` bytes arrived at `now` seconds, while all allowed requests were in flight."""
        if self._steady or now < self._until:
            return
        if self._until > -math.inf:
            self._until, self.allowed = -math.inf, self._settled
        if self._idle:
            self._begin(now)
            return
        if now < self._since:
            return
        self._bytes += size
        if now - self._since >= _TRIAL:
            self._judge(self._bytes / (now - self._since), now)

    def give_way(self, now: float) -> None:
        """A reader begins to wait for another file than those that are prefetched: for a while he comes first.

        What arrives meanwhile says nothing about how many requests fill the link.
        """
        if not self._steady:
            self._until, self._idle = now + _COURTESY, True
            self.allowed = max(min(FEWEST, self._most), self._settled // 2)

    def _begin(self, now: float, *, settling: float = 0.0) -> None:
        self._idle, self._bytes, self._since = False, 0, now + settling

    def _judge(self, rate: float, now: float) -> None:
        """A period is over."""
        if self.allowed == self._settled:
            # A link that has become slower must not make every trial look like a loss.
            self._rate = rate if not self._rate else (self._rate + rate) / 2
            if now >= self._next:
                self._try(now)
            else:
                self._begin(now)
            return
        better = rate >= self._rate * (_GAIN if self.allowed > self._settled else _LOSS)
        if better:
            self._settled, self._rate, self._pause = self.allowed, rate, _PAUSES[0]
            self._next = now  # the same way again
        else:
            self.allowed = self._settled
            self._up = not self._up
            self._next = now + self._pause
            self._pause = min(_PAUSES[1], 2 * self._pause)
        self._begin(now, settling=_SETTLING)

    def _try(self, now: float) -> None:
        wanted = self._settled + (1 if self._up else -1)
        if not min(FEWEST, self._most) <= wanted <= self._most:
            self._up = not self._up
            self._next = now + self._pause
            self._begin(now)
            return
        self.allowed = wanted
        self._begin(now, settling=_SETTLING)
