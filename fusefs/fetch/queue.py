"""Queue: flights that wait for a worker, most urgent first.  No trio, no clock: just the order."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusefs.fetch.flight import Flight, Priority


class Queue:
    """A heap of flights; within one priority the oldest goes first.

    A promoted flight is pushed again; its old entry is passed over when it comes up, because the flight's own priority
    is another by then, or it has started.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Priority, int, Flight]] = []
        self._serial = itertools.count()

    def push(self, flight: Flight) -> None:
        """Queue `flight` at its priority."""
        heapq.heappush(self._heap, (flight.priority, next(self._serial), flight))

    def promote(self, flight: Flight, priority: Priority) -> None:
        """Make a queued flight at least as urgent as `priority`."""
        if priority < flight.priority:
            flight.priority = priority
            if not flight.started:
                self.push(flight)

    def peek(self) -> Flight | None:
        """The most urgent flight that has not started; it stays queued."""
        while self._heap:
            priority, _, flight = self._heap[0]
            if not flight.started and not flight.landed and flight.priority == priority:
                return flight
            heapq.heappop(self._heap)
        return None
