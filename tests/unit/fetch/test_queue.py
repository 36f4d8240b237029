"""The queue: most urgent first, oldest first among equals, and a promoted flight comes up once."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from fusefs.fetch.flight import BlobFlights, Flight, Priority
from fusefs.fetch.queue import Queue
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker


def flight(index: int, priority: Priority, *, host: str = "one", blob: bytes = b"") -> Flight:
    of = BlobFlights(Digest.of(blob))
    of.host = host
    return Flight(of, cast("Chunker", None), index, priority)


def drain(queue: Queue) -> list[int]:
    order = []
    while (first := queue.peek()) is not None:
        assert queue.peek() is first, "looking takes nothing away"
        first.started = True
        queue.served(first)
        order.append(first.index)
    return order


def test_an_empty_queue_has_nothing() -> None:
    assert Queue().peek() is None


def test_demand_goes_before_read_ahead_and_that_before_fill() -> None:
    queue = Queue()
    for index, priority in enumerate((Priority.FILL, Priority.READ_AHEAD, Priority.DEMAND, Priority.FILL)):
        queue.push(flight(index, priority))
    assert drain(queue) == [2, 1, 0, 3]


def test_equals_go_in_the_order_in_which_they_came() -> None:
    queue = Queue()
    for index in (5, 3, 9, 1):
        queue.push(flight(index, Priority.READ_AHEAD))
    assert drain(queue) == [5, 3, 9, 1]


def test_a_promoted_flight_comes_up_sooner_and_once() -> None:
    queue = Queue()
    flights = [flight(index, Priority.FILL) for index in range(4)]
    for one in flights:
        queue.push(one)
    queue.promote(flights[2], Priority.DEMAND)
    queue.promote(flights[3], Priority.READ_AHEAD)
    assert drain(queue) == [2, 3, 0, 1]


def test_nobody_is_demoted() -> None:
    queue = Queue()
    urgent = flight(0, Priority.DEMAND)
    queue.push(urgent)
    queue.promote(urgent, Priority.FILL)
    queue.push(flight(1, Priority.READ_AHEAD))
    assert urgent.priority == Priority.DEMAND
    assert drain(queue) == [0, 1]


def test_a_flight_that_is_parked_keeps_the_priority_it_was_promoted_to() -> None:
    queue = Queue()
    parked = flight(0, Priority.FILL)
    queue.push(parked)
    parked.started = True
    queue.promote(parked, Priority.DEMAND)
    assert queue.peek() is None
    queue.push(flight(1, Priority.READ_AHEAD))
    parked.started = False
    queue.push(parked)
    assert drain(queue) == [0, 1]


def test_what_has_landed_is_passed_over() -> None:
    queue = Queue()
    one = flight(0, Priority.DEMAND)
    queue.push(one)
    one.land()
    assert queue.peek() is None


def test_p6_blobs_of_a_host_take_turns_however_many_chunks_one_of_them_has() -> None:
    queue = Queue()
    for index in range(1000):
        queue.push(flight(index, Priority.DEMAND, blob=b"many"))
    queue.push(flight(5000, Priority.DEMAND, blob=b"few"))
    assert drain(queue).index(5000) <= 1


def test_p6_hosts_take_turns_however_many_blobs_one_of_them_has() -> None:
    queue = Queue()
    for index in range(1000):
        queue.push(flight(index, Priority.DEMAND, host="many", blob=b"%d" % index))
    queue.push(flight(5000, Priority.DEMAND, host="few"))
    assert drain(queue).index(5000) <= 1


def test_a_more_urgent_flight_goes_before_any_turn() -> None:
    queue = Queue()
    for index in range(10):
        queue.push(flight(index, Priority.READ_AHEAD, host=f"{index % 3}"))
    queue.push(flight(99, Priority.DEMAND, host="0"))
    assert drain(queue)[0] == 99


def test_what_was_drained_leaves_nothing_behind() -> None:
    queue = Queue()
    for index in range(10):
        queue.push(flight(index, Priority.DEMAND, host=f"{index}"))
    drain(queue)
    assert not any(queue._turns.values())
