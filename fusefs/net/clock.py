"""Clock: time and chance for what waits and tries again, so that a test can have its own."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading


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

    now = staticmethod(time.monotonic)
    """See `Clock.now`."""

    def wait(self, event: threading.Event, seconds: float) -> None:
        """See `Clock.wait`."""
        event.wait(seconds)

    def jitter(self, longest: float) -> float:
        """See `Clock.jitter`."""
        return random.uniform(0, longest)  # noqa: S311  # spreads load, keeps no secret
