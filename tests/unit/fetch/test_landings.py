"""Landings: at once what somebody waits for, the rest together, and no wake-up is lost between the two."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.errors import SourceError
from fusefs.fetch import landings
from fusefs.fetch.flight import BlobFlights, Flight, Priority
from fusefs.fetch.landings import Landings
from tests.chunkers import opened
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from fusefs.fetch.landings import Over

DATA = some_bytes(1_000, seed=78)
HANG = 20.0
NEVER = 1e9


class Span:
    """Ten flights of one worker.

    Attributes:
        flights: by chunk.
        landings: of the worker.
        batches: which chunks were landed together.
    """

    def __init__(self, flights: dict[int, Flight]) -> None:
        self.flights = flights
        self.landings = Landings(flights, trio.lowlevel.current_trio_token(), self._land)
        self.batches: list[list[int]] = []

    def _land(self, over: Sequence[Over]) -> None:
        self.batches.append([flight.index for flight, _ in over])
        for flight, error in over:
            flight.land(error)

    async def add(self, *indices: int) -> None:
        """The worker ends some, in its thread."""
        await trio.to_thread.run_sync(self.add_all, indices)

    def add_all(self, indices: Sequence[int]) -> None:
        """The same, from that thread."""
        for index in indices:
            self.landings.add(index, None)


@asynccontextmanager
async def span_of_ten(root: Path) -> AsyncIterator[Span]:
    with opened(root, DATA) as chunker, trio.fail_after(HANG):
        await trio.lowlevel.checkpoint()
        of = BlobFlights(chunker.blob.digest)
        yield Span({index: Flight(of, chunker, index, Priority.READ_AHEAD) for index in range(10)})


async def test_what_nobody_waits_for_wakes_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landings, "_LATE", NEVER)
    async with span_of_ten(tmp_path) as span:
        await span.add(0, 1, 2)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not span.batches
        span.landings.hand_over()
        assert span.batches == [[0, 1, 2]], "the end of the span lands them"


async def test_p8_the_lock_of_a_chunk_that_is_over_is_given_back_before_it_lands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is on a small disk could not make room for what comes behind it in the same span."""
    monkeypatch.setattr(landings, "_LATE", NEVER)
    async with span_of_ten(tmp_path) as span:
        mine = span.flights[0].chunker
        assert mine.try_lock(0, 10)
        with opened(tmp_path, DATA) as theirs:
            await span.add(0, 1, 2)
            assert not span.batches
            assert theirs.try_lock(0, 3), "as eviction or another process takes them"
            assert not theirs.try_lock(3), "what is on its way stays the worker's"


async def test_what_somebody_waits_for_lands_at_once_and_takes_the_others_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landings, "_LATE", NEVER)
    async with span_of_ten(tmp_path) as span, trio.open_nursery() as nursery:
        nursery.start_soon(span.flights[3].wait)
        await trio.testing.wait_all_tasks_blocked()
        await span.add(1, 2)
        await span.add(3)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert span.batches == [[1, 2, 3]]


async def test_who_comes_after_the_chunk_does_not_wait_for_the_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landings, "_LATE", NEVER)
    async with span_of_ten(tmp_path) as span:
        await span.add(4)
        await span.flights[4].wait()
        assert span.batches == [[4]]


async def test_on_a_slow_link_each_chunk_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landings, "_LATE", 0.0)
    async with span_of_ten(tmp_path) as span:
        for index in range(3):
            await span.add(index)
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert span.batches == [[0], [1], [2]]


async def test_a_failure_reaches_who_comes_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landings, "_LATE", NEVER)
    async with span_of_ten(tmp_path) as span:
        await trio.to_thread.run_sync(span.landings.add, 5, SourceError("gone", source="here"))
        with pytest.raises(SourceError, match="gone"):
            await span.flights[5].wait()


async def test_no_wake_up_is_lost_whoever_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader and the worker meet at every chunk, in any order: with a lost wake-up the reader waits for ever."""
    monkeypatch.setattr(landings, "_LATE", NEVER)
    with opened(tmp_path, DATA) as chunker, trio.fail_after(HANG):
        of = BlobFlights(chunker.blob.digest)
        for _ in range(30):
            span = Span({index: Flight(of, chunker, index, Priority.READ_AHEAD) for index in range(10)})
            worker = threading.Thread(target=span.add_all, args=(range(10),))
            worker.start()
            for flight in span.flights.values():
                await flight.wait()
            worker.join()
            assert sorted(index for batch in span.batches for index in batch) == list(range(10)), "each of them once"
