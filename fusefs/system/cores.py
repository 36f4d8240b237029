"""Cores: whether one is idle, so that work for which nobody waits takes it from nobody."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

LOADAVG = Path("/proc/loadavg")

_FRESH = 0.01
"""Seconds for which a look is good: it costs as much as a few dozen Python calls, and chunks come faster than that."""


class Cores:
    """The cores that this process may use."""

    def __init__(self) -> None:
        self._idle = True
        self._until = 0.0

    def idle(self) -> bool:
        """Whether another thread that runs takes a core from nobody, as of `_FRESH` seconds ago at most.

        Where the kernel does not say, it is assumed.  Threads that wait for a disk or a lock do not count.
        """
        now = time.monotonic()
        if now >= self._until:
            self._until = now + _FRESH
            self._idle = self._look()
        return self._idle

    @staticmethod
    def _look() -> bool:
        """Source: proc(5), /proc/loadavg: the fourth field is `running/all` now, the asking one included."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            # No file object: it would cost as much as the rest of a chunk on the event loop.
            fd = os.open(LOADAVG, os.O_RDONLY | os.O_CLOEXEC)
            try:
                running = int(os.read(fd, 256).split()[3].partition(b"/")[0])
            finally:
                os.close(fd)
            return running <= len(os.sched_getaffinity(0))
        return True
