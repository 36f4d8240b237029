"""Seats: who is connected, and who must make room when a client or all of them together have too many connections.

Room is made by whoever keeps the server waiting, in this order: half a request; no request; an answer that nobody
takes.  Of each kind the client with the most connections goes before others, and its oldest first.  So a flood of
clients that do nothing pushes out itself, and who asks in one go is heard.
Knows addresses and a clock.  Knows no HTTP.
"""

from __future__ import annotations

import enum
import ipaddress
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.serve.limits import ClientLimits

log = logging.getLogger(__name__)


class Owes(enum.IntEnum):
    """What a client keeps the server waiting for; who owes more goes first."""

    NOTHING = 0
    """It waits for the server."""
    TAKING = 1
    """To take bytes of an answer."""
    ASKING = 2
    """To ask for something, as it may or may not."""
    HEADERS = 3
    """The rest of a request, or the first one."""


@dataclass(eq=False)
class Seat:
    """A connection's place.

    Attributes:
        client: whose it is.
        scope: cancel it to end the connection.
        owes: what the client keeps the server waiting for,
        since: and from when on, on trio's clock; for TAKING from its last progress on.
    """

    client: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    owes: Owes = Owes.HEADERS
    since: float = field(default_factory=trio.current_time)

    def mark(self, owes: Owes) -> None:
        """From now on the client owes that."""
        self.owes = owes
        self.since = trio.current_time()


class Seats:
    """Bounded, of each client and in all.  No method waits."""

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._taken: dict[Seat, None] = {}
        self._counts: Counter[str] = Counter()

    def take(self, address: str) -> Seat | None:
        """A place for a connection from `address`; None when there is none, and nobody who should make room."""
        client = client_of(address)
        if self._counts[client] >= self._limits.per_client:
            victim = self._owing_most(seat for seat in self._taken if seat.client == client)
        elif len(self._taken) >= self._limits.connections:
            victim = self._owing_most(self._taken)
        else:
            return self._seat(client)
        if victim is None:
            log.info(
                "A connection of %s is refused: %d of %d are its own.", client, self._counts[client], len(self._taken)
            )
            return None
        log.debug("A connection of %s makes room for one of %s.", victim.client, client)
        victim.scope.cancel()
        self.leave(victim)
        return self._seat(client)

    def leave(self, seat: Seat) -> None:
        """Give a place back; idempotent."""
        if seat in self._taken:
            del self._taken[seat]
            self._counts[seat.client] -= 1
            if not self._counts[seat.client]:
                del self._counts[seat.client]

    def end_idle(self) -> None:
        """End the connections that are between two requests."""
        for seat in self._taken:
            if seat.owes >= Owes.ASKING:
                seat.scope.cancel()

    def end_all(self) -> None:
        """End all connections."""
        for seat in self._taken:
            seat.scope.cancel()

    def _seat(self, client: str) -> Seat:
        seat = Seat(client)
        self._taken[seat] = None
        self._counts[client] += 1
        return seat

    def _owing_most(self, seats: Iterable[Seat]) -> Seat | None:
        """Of those who owe the same, one of the client that has the most connections."""
        stalled = trio.current_time() - self._limits.stalled_time
        owing = (seat for seat in seats if seat.owes > Owes.TAKING or (seat.owes and seat.since <= stalled))
        return max(owing, key=lambda seat: (seat.owes, self._counts[seat.client], -seat.since), default=None)


def client_of(address: str) -> str:
    """Whom connections of `address` are counted for: the address, or the /64 that one machine has of IPv6."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
