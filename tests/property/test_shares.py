"""A model of service times: who is served when, by the queue and the shares alone.

Any mix of hosts, blobs, priorities and service times is played against a clock of its own; some hosts, and some blobs
of healthy hosts, never answer.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from hypothesis import given
from hypothesis import strategies as st

from fusefs.fetch.flight import BlobFlights, Flight, Priority
from fusefs.fetch.queue import Queue
from fusefs.fetch.shares import SILENT, Shares
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.shares import Worker

CONNECTIONS = 4
DEAD = math.inf


@dataclass(frozen=True)
class Request:
    """What is wanted of whom: `arrives` after the one before, and takes `service` seconds once it has a worker."""

    host: int
    blob: int
    priority: Priority
    arrives: float
    service: float


def flights_of(blob: bytes, host: str) -> BlobFlights:
    of = BlobFlights(Digest.of(blob))
    of.host = host
    return of


def requests(hosts: st.SearchStrategy[int], service: st.SearchStrategy[float]) -> st.SearchStrategy[Request]:
    return st.builds(
        Request, hosts, st.integers(0, 5), st.sampled_from(Priority), st.sampled_from((0.0, 0.0, 0.1, 3.0)), service
    )


HEALTHY = requests(st.integers(0, 2), st.floats(0.01, 1.9))
LOST = requests(st.integers(3, 40), st.just(DEAD))


def play(wanted: list[Request]) -> dict[int, float]:
    """When each request, by its place, was served; those that are never served are left out."""
    queue, shares, now = Queue(), Shares(CONNECTIONS), 0.0
    serial = itertools.count()
    events: list[tuple[float, int, Flight | None, Worker | None]] = []
    flight: Flight | None
    served: dict[int, float] = {}
    when = 0.0
    for index, request in enumerate(wanted):
        when += request.arrives
        of = flights_of(b"%d %d" % (request.host, request.blob), f"host{request.host}")
        flight = Flight(of, cast("Chunker", None), index, request.priority)
        heapq.heappush(events, (when, next(serial), flight, None))
    while events:
        now, _, flight, worker = heapq.heappop(events)
        if worker is not None and flight is not None:
            shares.end(worker)
            served[flight.index] = now
        elif flight is not None:
            queue.push(flight)
        while started := _start(queue, shares, now):
            one, its = started
            if (service := wanted[one.index].service) < DEAD:
                heapq.heappush(events, (now + service, next(serial), one, its))
        if queue.peek() is not None and (soonest := shares.look(now)) < DEAD:
            heapq.heappush(events, (soonest, next(serial), None, None))
    return served


def _start(queue: Queue, shares: Shares, now: float) -> tuple[Flight, Worker] | None:
    """As the dispatcher does."""
    shares.look(now)
    for flight in queue.offers():
        prefetch = flight.priority != Priority.DEMAND
        if shares.may_start(flight.host, flight.blob, prefetch=prefetch):
            queue.served(flight)
            flight.started = True
            return flight, shares.begin(flight.host, flight.blob, now, prefetch=prefetch)
    return None


@given(st.lists(HEALTHY, min_size=1, max_size=30), st.lists(LOST, max_size=120))
def test_p6_dead_hosts_change_nothing_for_healthy_ones(healthy: list[Request], lost: list[Request]) -> None:
    """Each healthy request is served to the moment as if there were no dead host: so any bound is one without them."""
    alone = play([*healthy])
    assert len(alone) == len(healthy)
    still = [Request(one.host, one.blob, one.priority, 0.0, DEAD) for one in lost]  # they are there first
    mixed = play([*still, *healthy])
    assert {index - len(still): when for index, when in mixed.items()} == alone


@given(st.lists(HEALTHY, min_size=1, max_size=30), st.lists(st.integers(0, 60), max_size=40))
def test_p6_dead_blobs_delay_other_blobs_of_their_host_by_a_bound(healthy: list[Request], lost: list[int]) -> None:
    """Half the threads of a host may be lost in silence; then each healthy request waits for healthy ones alone."""
    demand = [Request(one.host, one.blob, Priority.DEMAND, one.arrives, one.service) for one in healthy]
    # Blobs of the same hosts with numbers of their own, each wanted as often as the dice say.
    dead = [Request(number % 3, 100 + number % 7, Priority.DEMAND, 0.0, DEAD) for number in lost]
    served = play([*dead, *demand])
    assert len(served) == len(demand)
    arrival = list(itertools.accumulate(one.arrives for one in demand))
    for index, when in served.items():
        index -= len(dead)
        work = sum(one.service for one in demand if one.host == demand[index].host)
        assert when - arrival[index] <= work + 2 * SILENT + 0.001


@given(st.lists(st.integers(0, 5), min_size=1, max_size=300), st.integers(0, 5))
def test_p6_a_request_of_a_blob_waits_for_one_of_each_other_blob_at_most(crowd: list[int], blob: int) -> None:
    """Whatever the others have queued, the oldest request of a blob has its turn after one of each of the others."""
    queue = Queue()
    for index, number in enumerate(crowd):
        of = flights_of(b"%d" % number, "host")
        queue.push(Flight(of, cast("Chunker", None), index, Priority.DEMAND))
    mine = flights_of(b"mine %d" % blob, "host")
    queue.push(Flight(mine, cast("Chunker", None), -1, Priority.DEMAND))
    for _ in range(len(set(crowd)) + 1):
        first = queue.peek()
        assert first is not None
        if first.index == -1:
            return
        first.started = True
        queue.served(first)
    raise AssertionError("others had two turns")
