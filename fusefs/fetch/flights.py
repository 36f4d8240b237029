"""Flights: every chunk that is on its way to this process, and the queues of those that wait.

Whoever wants a chunk asks here, and here alone a flight begins and ends.  Who moves flights stands above, and takes
them from two queues: the dispatcher what must be fetched, `Claims` what only has to be hashed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from fusefs.errors import CacheError, Forsaken
from fusefs.fetch.flight import Flight, Priority
from fusefs.fetch.pace import Pace
from fusefs.fetch.queue import Queue
from fusefs.values.counters import Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.flight import BlobFlights
    from fusefs.fetch.tasks import Tasks

_FOREIGN_POLL = (0.01, 0.25)
"""Seconds between looks at a chunk that another process fetches: at first, and at most."""


class Flights:
    """Of one fetcher; on the event loop.

    Attributes:
        queue: flights that wait for a worker.
        claims: flights whose chunk was marked in an earlier boot, and waits to be hashed.
        rate: bytes per second that arrive verified.
        pace: bytes per second that arrive while a worker runs.
        stirred: set when something has changed by which a flight may start; the dispatcher puts another in its place.
    """

    def __init__(self, tasks: Tasks, present: Callable[[Flight], None]) -> None:
        """Make an empty table.

        Args:
            tasks: of the same fetcher.
            present: told of each flight whose chunk is present now; the only word that goes up from here.
        """
        self.queue = Queue()
        self.rate = Rate()
        self.pace = Pace()
        self._claimed, self.claims = trio.open_memory_channel[Flight](math.inf)
        self._tasks = tasks
        self._present = present
        self.stirred = trio.Event()

    def want(self, of: BlobFlights, chunker: Chunker, index: int, priority: Priority) -> Flight:
        """The flight of a chunk that is missing: the one that is under way, or a new one."""
        flight = of.get(index)
        if flight is None:
            flight = of[index] = Flight(of, chunker, index, priority)
            self.requeue(flight)
            return flight
        flight.foreseen |= priority != Priority.DEMAND
        if priority < flight.priority:
            self.queue.promote(flight, priority)
            self.stirred.set()
        return flight

    def leave(self, flights: Sequence[Flight], *, killed: bool) -> None:
        """A reader waits no more for these, in whose `readers` he was counted.

        If he is gone before his time, what nobody else wants is not begun, and a worker that has begun stops.
        """
        for flight in flights:
            flight.readers -= 1
            if killed and not flight.wanted and not flight.started and not flight.landed:
                self.land(flight, Forsaken(f"{flight.blob.short}… chunk {flight.index}: its reader is gone"))

    def requeue(self, flight: Flight) -> None:
        """Start a flight, or start it again: what is only claimed is hashed, the rest is fetched."""
        flight.started = flight.chunker.claimed(flight.index)
        if flight.started:
            self._claimed.send_nowait(flight)
        else:
            self.queue.push(flight)
            self.stirred.set()

    def land(self, flight: Flight, error: BaseException | None = None) -> None:
        """A flight is over; only here does it leave the table."""
        flight.of.pop(flight.index, None)
        flight.land(error)
        if error is None:
            self._present(flight)

    def park(self, flight: Flight) -> None:
        """Another process has locked the chunk: wait for it to be present, or start again when the lock is free."""
        self._tasks.start_soon(self._await_foreign, flight)

    async def _await_foreign(self, flight: Flight) -> None:
        pause, longest = _FOREIGN_POLL
        while True:
            await trio.sleep(pause)
            pause = min(pause * 2, longest)
            if flight.chunker.present(flight.index):
                self.land(flight)
                return
            try:
                free = flight.chunker.try_lock(flight.index)
            except CacheError as exc:
                self.land(flight, exc)
                return
            if free:
                flight.chunker.unlock(flight.index)
                self.requeue(flight)
                return
