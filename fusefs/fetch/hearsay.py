"""Hearsay: what threads that answer reads have to tell the event loop.

The prefetcher lives there.  What follows from the reads that threads answer wakes it once for as much as comes until
it looks.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 4096
"""Things remembered that the event loop has not heard of: it is late, and only the last ones help to foresee."""


class Hearsay:
    """Of one fetcher.  `tell` is for any thread."""

    def __init__(self) -> None:
        self._told: deque[Callable[[], object]] = deque(maxlen=_MOST)
        self._loop: trio.lowlevel.TrioToken | None = None
        self._wake = trio.Event()
        self._woken = False

    def tell(self, what: Callable[[], object]) -> None:
        """Have `what` called on the event loop soon; at a time when nobody listens, never."""
        self._told.append(what)
        loop = self._loop
        if loop is not None and not self._woken:
            self._woken = True  # before it is woken: what is told after that is found by it
            with contextlib.suppress(trio.RunFinishedError):
                loop.run_sync_soon(self._stir)

    def _stir(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        self._loop = trio.lowlevel.current_trio_token()
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                self._woken = False  # before they are taken: who tells something after that wakes us again
                while self._told:
                    self._told.popleft()()
        finally:
            self._loop = None
            self._told.clear()
