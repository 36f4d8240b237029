"""Counters of one mount or one pull, and how fast bytes come.  No clock in here: times are handed in."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.values.metrics import COUNTERS, GAUGES, Counter

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.values.metrics import Metric


class Counters:
    """The values of all metrics of one mount or one pull.

    Worker threads and the event loop add to them, so every change goes through `add`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(COUNTERS, 0)
        self._watched: dict[Metric, Callable[[], float]] = {}

    def add(self, counter: Counter, amount: int = 1) -> None:
        """Count; `+=` from two threads could lose one of them."""
        with self._lock:
            self._counts[counter] += amount

    def watch(self, metric: Metric, read: Callable[[], float]) -> None:
        """Have a metric read where it is kept anyway, when somebody asks."""
        self._watched[metric] = read

    def __getitem__(self, metric: Metric) -> float:
        read = self._watched.get(metric)
        if read is not None:
            return read()
        with self._lock:
            return self._counts[metric] if isinstance(metric, Counter) else 0

    def snapshot(self) -> dict[str, int]:
        """All counters by name."""
        return {counter.name: int(self[counter]) for counter in COUNTERS}

    def gauges(self) -> dict[str, float]:
        """All gauges that are measured, by name."""
        return {gauge.name: self[gauge] for gauge in GAUGES if gauge in self._watched}


@dataclass(slots=True)
class Rate:
    """Bytes per second over about the last `window` seconds, exponentially forgotten.

    Of less than a window it is the mean since the first bytes: a mean that takes what was before them for silence would
    need several windows to come near the truth, and what is fetched ahead is measured by it.

    Attributes:
        window: seconds after which a sample counts for 1/e.
        value: bytes per second.
    """

    window: float = 2.0
    value: float = 0.0
    _known: float = 0.0  # the part of a window that `value` is the mean of
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
            old = self._known * keep
            self._known = old + 1 - keep
            self.value = (self.value * old + (self._pending / elapsed) * (1 - keep)) / self._known
            self._pending, self._since = 0, now

    def at(self, now: float) -> float:
        """The rate as seen at `now`: it falls when nothing comes."""
        self.add(0, now)
        return self.value
