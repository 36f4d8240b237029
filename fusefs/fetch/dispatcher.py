"""Dispatcher: which worker starts when, on which span.

Takes the most urgent flight from the queue, extends it to a span over queued neighbours, takes the chunks' locks, and
runs a worker thread.  Knows priorities, memory and locks; not why anybody wants a chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import trio

from fusefs.cache.files import PIECE
from fusefs.errors import CacheError
from fusefs.fetch.buffers import Buffers
from fusefs.fetch.flight import Flight, Priority
from fusefs.fetch.lanes import Lanes
from fusefs.fetch.queue import Queue
from fusefs.fetch.spans import plan, span_limit
from fusefs.fetch.worker import fetch_span
from fusefs.stats import Rate

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

    from fusefs.config import Settings
    from fusefs.stats import Counters

_RESERVED = 2
"""Workers that prefetch must leave free for demand reads."""

_FOREIGN_POLL = (0.01, 0.25)
"""Seconds between looks at a chunk that another process fetches: at first, and at most."""


class Dispatcher:
    """Runs workers for one fetcher, in the nursery that `run` is given.

    Attributes:
        rate: bytes per second that arrive verified.
        in_flight: worker threads that run now.
    """

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        landed: Callable[[Flight, BaseException | None], None],
        again: Callable[[Flight], None],
    ) -> None:
        self.rate = Rate()
        self.in_flight = 0
        self._settings = settings
        self._counters = counters
        self._tell = landed
        self._again = again
        self._queue = Queue()
        self._buffers = Buffers(settings.memory // 2)
        self._threads = trio.CapacityLimiter(settings.connections)
        self._wake = trio.Event()
        self._prefetching = 0
        self._lanes = Lanes(settings.connections - _RESERVED)
        self._nursery: trio.Nursery | None = None

    def push(self, flight: Flight) -> None:
        """Queue a flight."""
        flight.started = False
        self._queue.push(flight)
        self._wake.set()

    def promote(self, flight: Flight, priority: Priority) -> None:
        """Make a flight at least as urgent as `priority`, if it has not started."""
        self._queue.promote(flight, priority)
        self._wake.set()

    async def run(self, nursery: trio.Nursery) -> None:
        """Start workers in `nursery` until cancelled."""
        self._token = trio.lowlevel.current_trio_token()
        self._nursery = nursery
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._start_next():
                pass

    def _start_next(self) -> bool:
        """Start one span if a worker and memory are free; no await between choosing and locking."""
        flight = self._queue.peek()
        if flight is None:
            if self._prefetching < self._lanes.allowed:
                self._lanes.starved()
            return False
        if not self._may_start(flight.priority):
            return False
        chunker, fetch = flight.chunker, flight.fetch
        if chunker.present(flight.index):
            flight.started = True
            self._tell(flight, None)
            return True
        span = self._plan(flight)
        need = max(chunker.chunks[i].size for i in span)
        if need > self._buffers.capacity:
            need = PIECE  # too large for memory: it is streamed to its unmarked region
        buffer = self._buffers.take(need)
        if buffer is None and flight.priority == Priority.DEMAND and chunker.full is None:
            # Prefetch has the memory: a reader does not wait for it, its chunk goes to its unmarked region.
            buffer = self._buffers.take(PIECE, always=True)
        if buffer is None:
            return False
        flights = {i: fetch.flights[i] for i in span}
        for one in flights.values():
            one.started = True
        locked = [i for i in span if self._lock(flights[i])]
        if not locked:
            self._buffers.give(buffer)
            return True
        self._spawn(flight, {i: flights[i] for i in locked}, buffer)
        return True

    def _may_start(self, priority: Priority) -> bool:
        if self.in_flight >= self._settings.connections:
            return False
        return priority == Priority.DEMAND or self._prefetching < self._lanes.allowed

    def _plan(self, flight: Flight) -> range:
        flights, chunker = flight.fetch.flights, flight.chunker

        def wanted(index: int) -> bool:
            other = flights.get(index)
            return other is not None and not other.started and other.chunker is chunker

        limit = span_limit(self.rate.at(trio.current_time()), self._settings.span_size)
        return plan(chunker.chunks, flight.index, limit, wanted)

    def _lock(self, flight: Flight) -> bool:
        """Take the chunk's lock between processes; a chunk that another one has is parked."""
        assert self._nursery is not None
        try:
            free = flight.chunker.try_lock(flight.index)
        except CacheError as exc:
            self._tell(flight, exc)
            return False
        if not free:
            self._nursery.start_soon(self.await_foreign, flight)
            return False
        # Its last holder may have finished between our look at the map and the lock.
        if flight.chunker.present(flight.index):
            flight.chunker.unlock(flight.index)
            self._tell(flight, None)
            return False
        return True

    def _spawn(self, first: Flight, flights: dict[int, Flight], buffer: mmap.mmap) -> None:
        assert self._nursery is not None
        prefetch = first.priority != Priority.DEMAND
        self.in_flight += 1
        self._prefetching += prefetch
        self._nursery.start_soon(self._work, first, flights, buffer, prefetch)

    async def _work(self, first: Flight, flights: dict[int, Flight], memory: mmap.mmap, prefetch: bool) -> None:
        chunker = first.chunker
        buffer = memoryview(memory)

        def landed(index: int, error: BaseException | None) -> None:
            self._token.run_sync_soon(self._landed, flights[index], error)

        try:
            # Not abandoned: closing the sources ends it, and it must not use the chunker after that is closed.
            with trio.CancelScope(shield=True):
                buffer = await trio.to_thread.run_sync(
                    fetch_span,
                    chunker,
                    sorted(flights),
                    list(first.fetch.origins),
                    buffer,
                    self._counters,
                    landed,
                    limiter=self._threads,
                )
        finally:
            self._buffers.give(cast("mmap.mmap", buffer.obj))
            self.in_flight -= 1
            self._prefetching -= prefetch
            self._wake.set()

    def _landed(self, flight: Flight, error: BaseException | None) -> None:
        """One chunk of a span is over (on the event loop)."""
        flight.chunker.unlock(flight.index)
        if error is None:
            size, now = flight.chunker.chunks[flight.index].size, trio.current_time()
            self.rate.add(size, now)
            self._lanes.landed(size, now)
        self._tell(flight, error)

    async def await_foreign(self, flight: Flight) -> None:
        """Another process has the chunk: wait for it to be present, or for its lock.  Never raises."""
        pause, longest = _FOREIGN_POLL
        while True:
            await trio.sleep(pause)
            pause = min(pause * 2, longest)
            if flight.chunker.present(flight.index):
                self._tell(flight, None)
                return
            try:
                free = flight.chunker.try_lock(flight.index)
            except CacheError as exc:
                self._tell(flight, exc)
                return
            if free:
                flight.chunker.unlock(flight.index)
                self._again(flight)
                return
