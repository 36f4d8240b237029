"""Tasks: what runs for one fetcher: tasks that end with it, and cache threads.  Knows nothing of blobs."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from fusefs.errors import FusefsError
from fusefs.fetch.threads import CacheThreads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import TypeVarTuple

    Ts = TypeVarTuple("Ts")

log = logging.getLogger(__name__)


class Tasks:
    """Of one fetcher; on the event loop.

    Attributes:
        threads: where blocking work of the cache is done.
        last_error: what went wrong last that no reader was told; empty when nothing did.
    """

    def __init__(self) -> None:
        self.threads = CacheThreads()
        self.last_error = ""
        self._nursery: trio.Nursery | None = None
        self._wanted = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While this lasts, tasks may be started; they must end, or be cancelled, for it to end."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._wanted = True
                try:
                    yield
                finally:
                    self._wanted = False
        finally:
            self._nursery = None

    @property
    def may_start(self) -> bool:
        """Whether a task would run."""
        # After its body a nursery takes tasks as long as one runs; with the last one it closes, before it is left here.
        return self._nursery is not None and (self._wanted or bool(self._nursery.child_tasks))

    def start_soon(self, work: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Run a task that raises nothing: what fails in it goes to `report`, or to those who wait for it."""
        assert self._nursery is not None
        self._nursery.start_soon(work, *args)

    def report(self, error: BaseException) -> None:
        """Something went wrong that nobody waits for: say so once."""
        text = str(error) or type(error).__name__
        if text != self.last_error:
            log.warning("%s", text, exc_info=None if isinstance(error, FusefsError) else error)
        self.last_error = text
