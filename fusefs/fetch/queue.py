"""Queue: flights that wait for a worker, in the order in which they are offered.  No trio, no clock: just the order.

Most urgent first.  Within one priority hosts take turns, within a host blobs do, and of one blob the oldest flight goes
first: whoever queues a million chunks delays another blob by one turn, not by a million.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fusefs.fetch.flight import Priority

if TYPE_CHECKING:
    from fusefs.fetch.flight import Flight

_Turns = dict[str, dict[object, deque["Flight"]]]
"""By host, and of one host by blob; who was served last stands last."""


class Queue:
    """Flights by priority, host and blob.

    A promoted flight is pushed again; its old entry is passed over when it comes up, because the flight's own priority
    is another by then, or it has started.
    """

    def __init__(self) -> None:
        self._turns: dict[Priority, _Turns] = {priority: {} for priority in Priority}

    def push(self, flight: Flight) -> None:
        """Queue `flight` at its priority."""
        blobs = self._turns[flight.priority].setdefault(flight.host, {})
        blobs.setdefault(flight.blob, deque()).append(flight)

    def promote(self, flight: Flight, priority: Priority) -> None:
        """Make a queued flight at least as urgent as `priority`."""
        if priority < flight.priority:
            flight.priority = priority
            if not flight.started:
                self.push(flight)

    def peek(self) -> Flight | None:
        """The flight that is offered first; it stays queued."""
        return next(iter(self.offers()), None)

    def offers(self) -> list[Flight]:
        """The first flight of each blob, most urgent first; they stay queued."""
        found = []
        for priority, hosts in self._turns.items():
            for host, blobs in list(hosts.items()):
                for blob, flights in list(blobs.items()):
                    # An entry stands for nothing when its flight has started, has landed, or was promoted.
                    while flights and ((first := flights[0]).started or first.landed or first.priority != priority):
                        flights.popleft()
                    if flights:
                        found.append(flights[0])
                    else:
                        del blobs[blob]
                if not blobs:
                    del hosts[host]
        return found

    def served(self, flight: Flight) -> None:
        """An offer was taken: its blob and its host had their turn."""
        hosts = self._turns[flight.priority]
        if (blobs := hosts.pop(flight.host, None)) is None:
            return
        hosts[flight.host] = blobs
        if (flights := blobs.pop(flight.blob, None)) is not None:
            blobs[flight.blob] = flights
