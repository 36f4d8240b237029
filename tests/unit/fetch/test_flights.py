"""Flights: one for each chunk on its way, in the right queue, and ended once; nobody above is asked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.errors import SourceError
from fusefs.fetch.flight import BlobFlights, Flight, Priority
from fusefs.fetch.flights import Flights
from fusefs.fetch.tasks import Tasks
from tests.chunkers import fill, opened, reboot
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fusefs.cache.blob.chunker import Chunker

DATA = some_bytes(1_000, seed=77)


class Table:
    """Flights of one blob in a cache.

    Attributes:
        flights: of all blobs.
        of: of this one.
        chunker: where they go.
        present: whose chunk was told to be present, in order.
    """

    def __init__(self, chunker: Chunker) -> None:
        self.tasks = Tasks()
        self.present: list[Flight] = []
        self.flights = Flights(self.tasks, self.present.append)
        self.of = BlobFlights(chunker.blob.digest)
        self.chunker = chunker

    def want(self, index: int, priority: Priority = Priority.READ_AHEAD) -> Flight:
        return self.flights.want(self.of, self.chunker, index, priority)


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    with opened(tmp_path, DATA) as chunker:
        made = Table(chunker)
        with trio.fail_after(30):
            async with made.tasks.running():
                yield made


def test_who_wants_what_is_on_its_way_joins_and_hurries_it(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        table = Table(chunker)
        first, second = table.want(3), table.want(5)
        table.flights.stirred = trio.Event()
        assert table.want(5, Priority.DEMAND) is second
        assert table.flights.stirred.is_set()
        assert table.flights.queue.peek() is second, "a reader waits for it"
        assert table.want(5, Priority.FILL).priority == Priority.DEMAND, "nobody slows it down"
        assert table.of == {3: first, 5: second}


def test_a_flight_that_ends_leaves_the_table_and_is_told_once(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        table = Table(chunker)
        well, ill = table.want(0), table.want(1)
        table.flights.land(well)
        table.flights.land(ill, SourceError("gone", source="here"))
        assert table.present == [well], "of a failure those who wait hear, and nobody else"
        assert well.landed
        assert ill.landed
        assert not table.of
        assert table.want(1) is not ill, "a failure is forgotten"


def test_what_an_earlier_boot_has_marked_is_not_fetched_but_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, DATA) as chunker:
        fill(chunker, DATA, 2)
    reboot(monkeypatch)
    with opened(tmp_path, DATA) as chunker:
        table = Table(chunker)
        flight = table.want(2, Priority.DEMAND)
        assert flight.started, "no worker takes it"
        assert table.flights.queue.peek() is None
        assert table.flights.claims.receive_nowait() is flight


async def test_p9_what_another_process_fetches_lands_when_it_is_there(table: Table, tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as others:
        assert others.try_lock(4)
        flight = table.want(4, Priority.DEMAND)
        flight.started = True
        table.flights.park(flight)
        with contextlib.suppress(trio.TooSlowError), trio.fail_after(0.05):
            await flight.wait()
        assert not flight.landed
        others.unlock(4)
        fill(others, DATA, 4)
        await flight.wait()
        assert table.present == [flight]


async def test_p9_what_another_process_gave_up_is_fetched_by_us(table: Table, tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as others:
        assert others.try_lock(4)
        flight = table.want(4, Priority.DEMAND)
        flight.started = True
        table.flights.park(flight)
        table.flights.stirred = trio.Event()
        others.unlock(4)
        await table.flights.stirred.wait()
        assert table.flights.queue.peek() is flight
        assert table.chunker.try_lock(4), "looking has not kept the lock"


@pytest.mark.logs("no room")
def test_what_nobody_waits_for_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()
    for _ in range(3):
        tasks.report(SourceError("no room", source="here"))
    assert "no room" in tasks.last_error
    assert len(caplog.records) == 1


async def test_a_task_ends_with_those_who_run_it() -> None:
    tasks, ended = Tasks(), []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("work")

    assert [tasks.may_start] == [False]
    with trio.CancelScope() as scope:
        async with tasks.running():
            assert [tasks.may_start] == [True]
            tasks.start_soon(work)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert [tasks.may_start] == [False]
    assert ended == ["work"]
