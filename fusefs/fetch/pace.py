"""Pace: how fast bytes come while they are asked for.  Times are handed in.

What to fetch ahead is measured by what the link gives, and a link that nobody uses gives no less.
"""

from __future__ import annotations

from fusefs.values.counters import Rate


class Pace:
    """Of all workers together; its clock stands still while none runs.  On the event loop, but for `value`."""

    def __init__(self) -> None:
        self._rate = Rate()
        self._rate.add(0, 0.0)  # the time until the first bytes counts
        self._running = 0
        self._since = 0.0
        self._before = 0.0  # seconds for which workers had run when the last one ended

    def begin(self, now: float) -> None:
        """A worker starts."""
        if not self._running:
            self._since = now
        self._running += 1

    def end(self, now: float) -> None:
        """A worker has ended."""
        self._running -= 1
        if not self._running:
            self._before += now - self._since

    # Both run for each chunk or read: the clock is written out, not called.

    def add(self, size: int, now: float) -> None:
        """`size` bytes have come."""
        self._rate.add(size, self._before + (now - self._since if self._running else 0.0))

    def at(self, now: float) -> float:
        """Bytes per second, as seen at `now`."""
        rate = self._rate
        rate.add(0, self._before + (now - self._since if self._running else 0.0))
        return rate.value

    @property
    def value(self) -> float:
        """Bytes per second, as seen last; for any thread."""
        return self._rate.value
