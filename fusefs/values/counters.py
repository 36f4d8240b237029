"""Counters of one mount or one pull, and how fast bytes come.  No clock in here: times are handed in."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """What happened so far; all but `bytes_*` count events.

    Worker threads and the event loop add to it, so every change goes through `add`.
    """

    bytes_fetched: int = 0
    bytes_served: int = 0
    requests: int = 0
    retries: int = 0
    chunks_verified: int = 0
    chunks_unproved: int = 0
    chunks_rejected: int = 0
    read_errors: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, name: str, amount: int = 1) -> None:
        """Add to the counter called `name`; `+=` from two threads could lose one of them."""
        with self._lock:
            setattr(self, name, getattr(self, name) + amount)

    def snapshot(self) -> dict[str, int]:
        """All counters by name."""
        with self._lock:
            return {name: getattr(self, name) for name in _NAMES}


_NAMES = tuple(name for name in Counters.__dataclass_fields__ if not name.startswith("_"))


@dataclass(slots=True)
class Rate:
    """Bytes per second over about the last `window` seconds, exponentially forgotten.

    Attributes:
        window: seconds after which a sample counts for 1/e.
        value: bytes per second.
    """

    window: float = 2.0
    value: float = 0.0
    _pending: int = 0
    _since: float | None = None

    def add(self, amount: int, now: float) -> None:
        """Count `amount` bytes that arrived at `now` (seconds, monotonic)."""
        if self._since is None:
            self._since = now
        self._pending += amount
        elapsed = now - self._since
        if elapsed >= 0.1:
            keep = max(0.0, 1 - elapsed / self.window)
            self.value = self.value * keep + (self._pending / elapsed) * (1 - keep)
            self._pending, self._since = 0, now

    def at(self, now: float) -> float:
        """The rate as seen at `now`: it falls when nothing comes."""
        self.add(0, now)
        return self.value
