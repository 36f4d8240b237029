"""CacheThreads: blocking work of the cache in a few threads, which unmount does not wait for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

import trio

from fusefs.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class CacheThreads:
    """Four at a time: more would only wait for the same disk.  Two more read whole blobs, four more look.

    Attributes:
        busy: threads at work now, those included that nobody waits for any more.
    """

    def __init__(self) -> None:
        self.busy = 0
        self._limiter = trio.CapacityLimiter(4)
        # Hashing a terabyte takes an hour, and waits for other processes: nobody's read shall wait behind it.
        self._long = trio.CapacityLimiter(2)
        # A disk that hangs keeps these from who only looks, and nobody's read waits behind who looks.
        self._looking = trio.CapacityLimiter(4)
        self._lock = threading.Lock()
        self._last: Callable[[], None] | None = None

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """Run `work`; who is cancelled leaves the thread behind."""
        return await self._run(self._limiter, work, args)

    async def run_long(self, work: Callable[..., T], *args: object) -> T:
        """The same for work that takes as long as its blob is large."""
        return await self._run(self._long, work, args)

    async def run_look(self, work: Callable[..., T], *args: object) -> T:
        """The same for who only looks."""
        return await self._run(self._looking, work, args)

    async def _run(self, limiter: trio.CapacityLimiter, work: Callable[..., T], args: tuple[object, ...]) -> T:
        # Whoever is first has it: the thread, or the caller who is cancelled before the thread has begun.
        begun = threading.Lock()

        def counted() -> T:
            if not begun.acquire(blocking=False):
                raise Cancelled("nobody waits any more")
            try:
                return work(*args)
            finally:
                self._count(-1)

        self._count(1)
        try:
            return await trio.to_thread.run_sync(counted, abandon_on_cancel=True, limiter=limiter)
        except trio.Cancelled:
            if begun.acquire(blocking=False):
                self._count(-1)
            raise

    async def run_to_end(self, work: Callable[..., T], *args: object) -> T:
        """Run `work`, and wait for it even when cancelled: nobody else would know of what it made."""
        return await trio.to_thread.run_sync(work, *args, limiter=self._limiter)

    def when_idle(self, last: Callable[[], None]) -> None:
        """Call `last` once when no thread is at work: now, or from the last one (an fsync of gigabytes takes long)."""
        with self._lock:
            if self.busy:
                self._last = last
                return
        last()

    def _count(self, change: int) -> None:
        with self._lock:
            self.busy += change
            last = None
            if not self.busy:
                last, self._last = self._last, None
        if last is not None:
            last()
