"""Dispatcher: which worker starts when, on which span.

Takes the first flight of the queue that may start, extends it to a span over queued neighbours, takes the chunks'
locks, and runs a worker thread.  Knows priorities, shares, memory and locks; not why anybody wants a chunk.
"""

from __future__ import annotations

import contextlib
import math
from functools import partial
from typing import TYPE_CHECKING

import trio

from fusefs.cache.memory.buffers import Buffers
from fusefs.errors import CacheError, Forsaken, StreamTaken
from fusefs.fetch.flight import Priority
from fusefs.fetch.landings import Landings
from fusefs.fetch.shares import Shares
from fusefs.fetch.spans import plan, span_limit
from fusefs.fetch.wholestream import Streams, WholeStream
from fusefs.fetch.worker import fetch_span
from fusefs.system.files import PIECE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.cache.memory.buffer import Buffer
    from fusefs.fetch.flight import Flight
    from fusefs.fetch.flights import Flights
    from fusefs.fetch.landings import Over
    from fusefs.fetch.shares import Worker
    from fusefs.fetch.tasks import Tasks
    from fusefs.values.counters import Counters
    from fusefs.values.settings import Settings


class Dispatcher:
    """Runs workers for one fetcher; they are tasks of it."""

    def __init__(self, settings: Settings, counters: Counters, flights: Flights, tasks: Tasks) -> None:
        self._settings = settings
        self._counters = counters
        self._flights = flights
        self._tasks = tasks
        self._buffers = Buffers(settings.memory // 2)
        self._shares = Shares(settings.connections, steady="concurrency" in settings.without)
        self._streams = Streams(self._lock, settings.timeout)
        self._threads = trio.CapacityLimiter(math.inf)  # the shares are the limit
        self._short = False  # a reader lacks memory
        self._waiting = False  # flights could not start when they were looked at last

    @property
    def in_flight(self) -> int:
        """Worker threads that run now."""
        return self._shares.running

    async def run(self) -> None:
        """Start workers until cancelled."""
        self._token = trio.lowlevel.current_trio_token()
        while True:
            self._waiting = self._start_all()
            soonest = self._shares.look(trio.current_time()) if self._waiting else math.inf
            # Nobody announces that a worker has become silent, at which others may start.
            with trio.move_on_at(soonest):
                await self._flights.stirred.wait()
            self._flights.stirred = trio.Event()

    def _start_all(self) -> bool:
        """Start what may start; True when something is left that waits."""
        self._shares.look(trio.current_time())
        while True:
            self._short = False
            offers = self._flights.queue.offers()
            if not any(map(self._start, offers)):
                break
        self._shares.idle(offers)
        return bool(offers)

    def _start(self, flight: Flight) -> bool:
        """Start one span if its share and memory allow it; no await between choosing and locking."""
        prefetch = flight.priority != Priority.DEMAND
        if prefetch and self._short:
            return False
        if not self._shares.may_start(flight.host, flight.blob, prefetch=prefetch, asks=flight.chunker.blob.size):
            return False
        if not self._streams.may_start(flight):
            return False
        chunker = flight.chunker
        span = self._plan(flight)
        need = max(map(chunker.chunks.size_of, span))
        if need > self._buffers.capacity:
            need = PIECE  # too large for memory: it is streamed to its unmarked region
        buffer = self._buffers.take(need)
        if buffer is None and not prefetch and chunker.full is None:
            # Prefetch has the memory: a reader does not wait for it, its chunk goes to its unmarked region.
            buffer = self._buffers.take(PIECE, always=True)
        if buffer is None:
            self._short = not prefetch  # the memory that comes free next is a reader's
            return False
        self._flights.queue.served(flight)
        locked = self._lock_all(flight, span)
        if locked:
            self._spawn(flight, locked, buffer, prefetch=prefetch)
        else:
            self._buffers.give(buffer)
        return True

    def _plan(self, flight: Flight) -> range:
        flights, chunker = flight.of, flight.chunker

        def wanted(index: int) -> bool:
            other = flights.get(index)
            return other is not None and not other.started and other.chunker is chunker

        if flight.index + 1 not in flights:
            return range(flight.index, flight.index + 1)
        limit = span_limit(self._flights.pace.at(trio.current_time()), self._settings.span_size)
        return plan(chunker.chunks, flight.index, limit, wanted)

    def _lock_all(self, first: Flight, span: range) -> dict[int, Flight]:
        """Start the flights of a span: those whose chunks nobody else has, by index."""
        take = self._lock
        if len(span) > 1:
            # All at once where that goes, which is nearly always.
            with contextlib.suppress(CacheError):
                if first.chunker.try_lock(span.start, len(span)):
                    take = self._is_absent
        locked = {}
        for index in span:
            flight = first.of[index]
            flight.started = True
            if take(flight):
                locked[index] = flight
        return locked

    def _lock(self, flight: Flight) -> bool:
        """Take the chunk's lock between processes; a chunk that another one has is parked."""
        try:
            free = flight.chunker.try_lock(flight.index)
        except CacheError as exc:
            self._flights.land(flight, exc)
            return False
        if not free:
            self._flights.park(flight)
            return False
        return self._is_absent(flight)

    def _is_absent(self, flight: Flight) -> bool:
        """Look again at a chunk that is locked now: its last holder may have finished since our look at the map."""
        if flight.chunker.present(flight.index):
            flight.chunker.unlock(flight.index)
            self._flights.land(flight)
            return False
        return True

    def _spawn(self, first: Flight, flights: dict[int, Flight], buffer: Buffer, *, prefetch: bool) -> None:
        now = trio.current_time()
        asks = first.chunker.blob.size
        worker = self._shares.begin(first.host, first.blob, now, prefetch=prefetch, asks=asks)
        self._flights.pace.begin(now)
        if not (prefetch or first.foreseen):  # who reads in order and has caught up with prefetch wants more of it
            self._shares.give_way(first.host, first.blob, now)
        first.of.use.hold()
        stream = WholeStream(self._streams, first, flights)
        self._tasks.start_soon(self._work, stream, buffer, worker)

    async def _work(self, stream: WholeStream, buffer: Buffer, worker: Worker) -> None:
        first, flights = stream.first, stream.flights
        chunker = first.chunker

        landings = Landings(flights, self._token, partial(self._landed, worker))

        def wanted() -> bool:
            # Copied: a stream of all takes others along meanwhile.  A generator would be two calls more in each read.
            for flight in list(flights.values()):  # noqa: SIM110
                if flight.readers or flight.foreseen:
                    return True
            return False

        try:
            # Not abandoned: closing the sources ends it, and it must not use the chunker after that is closed.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(
                    fetch_span,
                    chunker,
                    sorted(flights),
                    first.of.origins,
                    buffer,
                    self._counters,
                    landings.add,
                    worker.pulse,
                    stream,
                    wanted,
                    limiter=self._threads,
                )
        finally:
            landings.hand_over()
            self._buffers.give(buffer)
            self._shares.end(worker)
            self._flights.pace.end(trio.current_time())
            self._streams.end(stream)
            first.of.use.let_go()
            if self._waiting or self._shares.running:  # else there is nothing to start, and nothing to be idle beside
                self._flights.stirred.set()

    def _landed(self, worker: Worker, over: Sequence[Over]) -> None:
        """Chunks of a span are over (on the event loop)."""
        sizes = over[0][0].chunker.chunks
        size = sum(sizes.size_of(flight.index) for flight, error in over if error is None)
        if size:
            now = trio.current_time()
            self._flights.rate.add(size, now)
            self._flights.pace.add(size, now)
            if not worker.light:  # a small request says something of the delay, and nothing of the link
                worker.limit.landed(size, now)
        for flight, error in over:
            # Of what was forsaken somebody may want this one again since.
            if isinstance(error, StreamTaken) or (isinstance(error, Forsaken) and flight.wanted):
                self._flights.requeue(flight)
            else:
                self._flights.land(flight, error)
