"""Hearsay: what threads that answer reads have to tell the event loop.

Foresight lives there.  A read that is answered by a thread wakes it once for as many as come until it looks.
"""

from __future__ import annotations

import contextlib
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import TypeVarTuple

    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.driver import Foresight

    Ts = TypeVarTuple("Ts")

_MOST = 4096
"""Reads remembered that the event loop has not heard of: it is late, and only the last ones help to foresee."""


class Hearsay:
    """Of one fetcher.  `tell` and `call` are for any thread."""

    def __init__(self, foresight: Foresight) -> None:
        self._foresight = foresight
        self._reads: deque[tuple[BlobFetch, int, int]] = deque(maxlen=_MOST)
        self._loop: trio.lowlevel.TrioToken | None = None
        self._woken = False

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        """While this lasts, the event loop listens; at other times nothing is kept."""
        self._loop = trio.lowlevel.current_trio_token()
        try:
            yield
        finally:
            self._loop = None

    def tell(self, fetch: BlobFetch, off: int, size: int) -> None:
        """[off, off+size) of a blob was read."""
        self._reads.append((fetch, off, size))
        if not self._woken:
            self._woken = True  # before it is woken: whoever comes after that has his read found by it
            self.call(self._hear)

    def call(self, what: Callable[[*Ts], object], *args: *Ts) -> None:
        """Have `what` called on the event loop, if it listens."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(trio.RunFinishedError):
                loop.run_sync_soon(what, *args)

    def _hear(self) -> None:
        self._woken = False  # before they are taken: whoever comes after that wakes us again
        if self._loop is None:
            self._reads.clear()
            return
        while self._reads:
            self._foresight.observe(*self._reads.popleft())
