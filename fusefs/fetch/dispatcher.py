"""Dispatcher: which worker starts when, on which span.

Takes the first flight of the queue that may start, extends it to a span over queued neighbours, takes the chunks'
locks, and runs a worker thread.  Knows priorities, shares, memory and locks; not why anybody wants a chunk.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import trio

from fusefs.cache.memory.buffers import Buffers
from fusefs.errors import CacheError, StreamTaken
from fusefs.fetch.flight import Flight, Priority
from fusefs.fetch.queue import Queue
from fusefs.fetch.shares import Shares
from fusefs.fetch.spans import plan, span_limit
from fusefs.fetch.wholestream import Streams
from fusefs.fetch.worker import fetch_span
from fusefs.system.files import PIECE
from fusefs.values.counters import Rate

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

    from fusefs.fetch.shares import Worker
    from fusefs.values.counters import Counters
    from fusefs.values.settings import Settings

_FOREIGN_POLL = (0.01, 0.25)
"""Seconds between looks at a chunk that another process fetches: at first, and at most."""


class Dispatcher:
    """Runs workers for one fetcher, in the nursery that `run` is given.

    Attributes:
        rate: bytes per second that arrive verified.
    """

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        landed: Callable[[Flight, BaseException | None], None],
        again: Callable[[Flight], None],
    ) -> None:
        self.rate = Rate()
        self._settings = settings
        self._counters = counters
        self._tell = landed
        self._again = again
        self._queue = Queue()
        self._buffers = Buffers(settings.memory // 2)
        self._shares = Shares(settings.connections)
        self._streams = Streams(self._shares, self._lock, settings.timeout)
        self._threads = trio.CapacityLimiter(math.inf)  # the shares are the limit
        self._wake = trio.Event()
        self._short = False  # a reader lacks memory
        self._nursery: trio.Nursery | None = None

    @property
    def in_flight(self) -> int:
        """Worker threads that run now."""
        return self._shares.running

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
            waiting = self._start_all()
            soonest = self._shares.look(trio.current_time()) if waiting else math.inf
            # Nobody announces that a worker has become silent, at which others may start.
            with trio.move_on_at(soonest):
                await self._wake.wait()
            self._wake = trio.Event()

    def _start_all(self) -> bool:
        """Start what may start; True when something is left that waits."""
        while True:
            self._shares.look(trio.current_time())
            self._short = False
            offers = list(self._queue.offers())
            if not any(map(self._start, offers)):
                break
        self._shares.idle(flight.host for flight in offers)
        return bool(offers)

    def _start(self, flight: Flight) -> bool:
        """Start one span if its share and memory allow it; no await between choosing and locking."""
        prefetch = flight.priority != Priority.DEMAND
        if prefetch and self._short:
            return False
        if not self._shares.may_start(flight.host, flight.blob, prefetch=prefetch):
            return False
        if not self._streams.may_start(flight):
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
        if buffer is None and not prefetch and chunker.full is None:
            # Prefetch has the memory: a reader does not wait for it, its chunk goes to its unmarked region.
            buffer = self._buffers.take(PIECE, always=True)
        if buffer is None:
            self._short = not prefetch  # the memory that comes free next is a reader's
            return False
        self._queue.served(flight)
        flights = {i: fetch.flights[i] for i in span}
        for one in flights.values():
            one.started = True
        locked = [i for i in span if self._lock(flights[i])]
        if not locked:
            self._buffers.give(buffer)
            return True
        self._spawn(flight, {i: flights[i] for i in locked}, buffer, prefetch=prefetch)
        return True

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

    def _spawn(self, first: Flight, flights: dict[int, Flight], buffer: mmap.mmap, *, prefetch: bool) -> None:
        assert self._nursery is not None
        worker = self._shares.begin(first.host, first.blob, trio.current_time(), prefetch=prefetch)
        first.fetch.use.hold()
        self._nursery.start_soon(self._work, first, flights, buffer, worker)

    async def _work(self, first: Flight, flights: dict[int, Flight], memory: mmap.mmap, worker: Worker) -> None:
        chunker = first.chunker
        buffer = memoryview(memory)
        stream = self._streams.of(first, flights)

        def landed(index: int, error: BaseException | None) -> None:
            self._token.run_sync_soon(self._landed, flights[index], error)

        try:
            # Not abandoned: closing the sources ends it, and it must not use the chunker after that is closed.
            with trio.CancelScope(shield=True):
                buffer = await trio.to_thread.run_sync(
                    fetch_span,
                    chunker,
                    sorted(flights),
                    first.fetch.origins,
                    buffer,
                    self._counters,
                    landed,
                    worker.heard,
                    stream,
                    limiter=self._threads,
                )
        finally:
            self._buffers.give(cast("mmap.mmap", buffer.obj))
            self._shares.end(worker)
            self._streams.end(stream)
            first.fetch.use.let_go()
            self._wake.set()

    def _landed(self, flight: Flight, error: BaseException | None) -> None:
        """One chunk of a span is over (on the event loop)."""
        flight.chunker.unlock(flight.index)
        if isinstance(error, StreamTaken):
            self._again(flight)
            return
        if error is None:
            size, now = flight.chunker.chunks[flight.index].size, trio.current_time()
            self.rate.add(size, now)
            self._shares.lanes(flight.host).landed(size, now)
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
