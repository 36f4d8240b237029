"""The dispatcher: who goes first, how many at once, and what happens to chunks that another process has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.fetch.flight import Flight, Priority
from fusefs.fetch.shares import LIGHT
from fusefs.sources.bound import BoundSource
from fusefs.values.chunks import Chunk
from tests.chunkers import fill, opened, reboot
from tests.fake_source import FakeSource, chunk_list, fail
from tests.world import NAME, World, running, some_bytes, until

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(20_000)


def first_chunks(source: FakeSource) -> list[int]:
    """The chunks with which the requests began, in order."""
    return [chunk.start // 1000 for chunk in source.asked]


async def want(world: World, *indices: int, priority: Priority = Priority.READ_AHEAD) -> None:
    chunker = await world.fetcher.open(world.fetch)
    for index in indices:
        world.fetcher._flights.want(world.fetch.flights, chunker, index, priority)


async def in_flight(world: World, count: int) -> None:
    await until(lambda: len(world.source.asked) == count)
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert world.fetcher.in_flight == count


async def test_a_demand_read_overtakes_queued_read_ahead(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, connections=1, span_size=1000) as world:
        world.source.gate.clear()
        await want(world, 0, 1, 2, 3)
        await in_flight(world, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.read, 9_000, 10)
            await trio.testing.wait_all_tasks_blocked(0.01)
            world.source.gate.set()
        await until(lambda: not world.fetch.flights)
        assert first_chunks(world.source) == [0, 9, 1, 2, 3]


async def test_read_ahead_overtakes_fill(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, connections=1, span_size=1000) as world:
        world.source.gate.clear()
        await want(world, 0, 1, 2, priority=Priority.FILL)
        await in_flight(world, 1)
        await want(world, 7, 8)
        world.source.gate.set()
        await until(lambda: not world.fetch.flights)
        assert first_chunks(world.source) == [0, 7, 8, 1, 2]


async def test_a_queued_flight_that_a_reader_needs_is_promoted(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, connections=1, span_size=1000) as world:
        world.source.gate.clear()
        await want(world, 0, 1, 2, 3, 4, 5)
        await in_flight(world, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.read, 4_000, 10)
            await trio.testing.wait_all_tasks_blocked(0.01)
            world.source.gate.set()
        await until(lambda: not world.fetch.flights)
        assert first_chunks(world.source) == [0, 4, 1, 2, 3, 5], "sooner, and once"


async def test_prefetch_leaves_workers_for_demand_reads(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, connections=4, span_size=1000) as world:
        world.source.gate.clear()
        await want(world, *range(10))
        await in_flight(world, 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.read, 15_000, 10)
            nursery.start_soon(world.read, 17_000, 10)
            await in_flight(world, 4)
            assert set(first_chunks(world.source)[2:]) == {15, 17}
            world.source.gate.set()


async def test_no_more_requests_at_once_than_connections(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, connections=3, span_size=1000) as world:
        world.source.gate.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.read, 0, len(DATA))
            await in_flight(world, 3)
            world.source.gate.set()


async def test_p10_no_more_bytes_in_flight_than_half_of_the_memory(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, connections=8, span_size=1000, memory=5_000) as world:
        world.source.gate.clear()
        await want(world, *range(20))
        await in_flight(world, 2)
        world.source.gate.set()
        await until(lambda: not world.fetch.flights)
        assert world.source.bytes_asked == len(DATA)


async def test_wanted_neighbours_are_one_request_and_present_ones_end_it(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, connections=1, span_size=100_000) as world:
        await world.read(5_000, 1_000)
        await world.read(0, 10_000)
        assert world.source.asked[1:] == [Chunk(0, 4_999), Chunk(6_000, 9_999)]


async def test_p9_a_chunk_that_another_process_has_is_waited_for_and_not_fetched(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        with opened(tmp_path, DATA, 1000) as other:
            assert other.try_lock(3)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.read, 3_000, 1_000)
                await trio.testing.wait_all_tasks_blocked(0.02)
                assert not world.source.asked
                fill(other, DATA, 3)
        assert not world.source.asked


async def test_p9_a_chunk_whose_holder_gave_up_is_fetched(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        with opened(tmp_path, DATA, 1000) as other:
            assert other.try_lock(3)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.read, 2_000, 3_000)
                await until(lambda: len(world.source.asked) == 2)
                assert sorted(first_chunks(world.source)) == [2, 4], "its neighbours do not wait"
                other.unlock(3)
        assert world.source.bytes_asked == 3_000


async def test_p9_what_another_process_brought_before_a_span_is_locked_is_not_fetched(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        chunker = await world.fetcher.open(world.fetch)
        with opened(tmp_path, DATA, 1000) as other:
            for index in range(4):
                world.fetcher._flights.want(world.fetch.flights, chunker, index, Priority.READ_AHEAD)
            fill(other, DATA, 1)  # no await since: the dispatcher has not looked
            await until(lambda: not world.fetch.flights)
        assert world.source.bytes_asked == 3_000


async def test_p9_all_chunks_of_a_span_are_locked_while_it_comes_and_free_after_it(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        world.source.gate.clear()
        await want(world, 0, 1, 2, 3)
        await in_flight(world, 1)
        with opened(tmp_path, DATA, 1000) as other:
            assert [other.try_lock(index) for index in range(5)] == [False, False, False, False, True]
            world.source.gate.set()
            await until(lambda: not world.fetch.flights)
            assert [other.try_lock(index) for index in range(4)] == [True] * 4


async def test_p5_a_claim_whose_holder_died_is_hashed_and_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(3_000, 1_000)
    reboot(monkeypatch)
    source = FakeSource()
    source.always = fail
    async with running(tmp_path, DATA, source=source, listed=False) as world:
        with opened(tmp_path, DATA, 1000) as other:
            assert other.try_lock(3)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.read, 3_000, 1_000)
                await trio.testing.wait_all_tasks_blocked(0.02)
                other.unlock(3)
        assert not source.asked


async def test_a_file_system_without_locks_is_an_error_and_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **_: object) -> bool:
        raise OSError(37, "No locks available")

    async with running(tmp_path, DATA) as world:
        await world.read(0, 10)
        with monkeypatch.context() as patch:
            patch.setattr("fusefs.system.locks.try_lock", refuse)
            with pytest.raises(Exception, match="No locks available"):
                await world.file.read(5_000, 10)
        await world.read(5_000, 10)


async def test_prefetch_that_has_all_the_memory_does_not_hold_up_a_demand_read(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, connections=8, span_size=1000, memory=2000) as world:
        world.source.gate.clear()
        await want(world, 0, 1, 2)
        await in_flight(world, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.read, 9_000, 10)
            await in_flight(world, 2)
            assert first_chunks(world.source) == [0, 9]
            world.source.gate.set()


@pytest.mark.parametrize(("foreseen", "allowed"), [(False, 2), (True, 3)])
async def test_prefetch_gives_way_to_a_reader_of_another_file_whom_nobody_has_foreseen(
    tmp_path: Path, foreseen: bool, allowed: int
) -> None:
    large = some_bytes(LIGHT + 1000)
    async with running(tmp_path, large, chunk_size=1 << 16, span_size=1 << 16, connections=8) as world:
        world.source.gate.clear()
        await want(world, *range(3))
        await in_flight(world, 3)
        other = world.source.add(DATA, chunk_list(DATA, 1000))
        fetch = world.fetcher.track(other)
        fetch.add_origin(BoundSource(world.source, NAME))
        chunker = await world.fetcher.open(fetch)
        if foreseen:  # it waits for its turn, behind what is in flight
            fetch.flights[0] = Flight(fetch.flights, chunker, 0, Priority.READ_AHEAD)
        world.fetcher._flights.want(fetch.flights, chunker, 0, Priority.DEMAND).readers = 1
        await in_flight(world, 4)
        (host,) = world.fetcher._dispatcher._shares._hosts.values()
        assert host.limit.allowed == allowed
        world.source.gate.set()
        await until(lambda: not fetch.flights and not world.fetch.flights)
