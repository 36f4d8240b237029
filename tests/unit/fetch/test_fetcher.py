"""The read path without a kernel: reads through BlobFile against a fake source."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.cache.blob import sealing
from fusefs.cache.blob.sealing import put_liar_aside
from fusefs.errors import BlobQuarantined, BlobUnproved, DigestMismatch, SourceError
from fusefs.sources.bound import BoundSource
from fusefs.values import metrics
from fusefs.values.chunks import Chunk
from tests.fake_source import FakeSource, chunk_list, fail, flip
from tests.patience import HANGS
from tests.world import NAME, running, some_bytes, until

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.cache.blob.chunker import Chunker

DATA = some_bytes(25_500)


async def test_a_cold_read_fetches_just_the_chunks_that_cover_it(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(3_500, 1_000)
        assert world.source.asked == [Chunk(3000, 4999)]
        await world.read(3_000, 2_000)
        assert len(world.source.asked) == 1, "a warm read asks nobody"
        assert world.file.present == 2000
        assert world.file.state == "partial"


async def test_p4_the_final_name_comes_after_the_last_chunk_and_the_whole_digest(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(1_000, 30_000)
        assert not world.cache.path(world.blob.digest).exists()
        await world.read(0, 10)
        await world.sealed()
        assert world.cache.path(world.blob.digest).read_bytes() == DATA
        assert world.source.bytes_asked == len(DATA)


async def test_p7_what_is_sealed_is_read_with_no_source_at_all(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    source = FakeSource()
    source.always = fail
    async with running(tmp_path, DATA, source=source, listed=False) as world:
        await world.read(0, len(DATA))
        assert not source.asked


async def test_p7_what_is_partial_is_read_with_no_source_and_nothing_is_fetched_twice(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(2_000, 5_000)
    source = FakeSource()
    async with running(tmp_path, DATA, source=source, listed=False) as world:
        source.always = fail
        await world.read(2_000, 5_000)
        with pytest.raises(SourceError):
            await world.read(0, 10)
        source.always = None
        await world.read(0, len(DATA))
        assert source.bytes_asked == 1000 + len(DATA) - 5000, "the failed chunk, and what was absent"


@pytest.mark.logs("does not match its digest")
async def test_p1_one_flipped_bit_is_asked_for_again(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        world.source.faults.append(flip)
        await world.read(0, 1000)
        assert world.source.asked == [Chunk(0, 999), Chunk(0, 999)]
        assert world.counters[metrics.CHUNKS_REJECTED] == 1


@pytest.mark.logs("does not match its digest")
async def test_p2_wrong_bytes_for_ever_are_an_error_and_never_latched(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        world.source.always = flip
        with pytest.raises(DigestMismatch):
            await world.read(0, 1000)
        world.source.always = None
        await world.read(0, 1000)


@pytest.mark.logs("does not match its digest")
async def test_p1_the_next_source_is_asked_when_one_has_wrong_bytes(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        other = FakeSource("other")
        other.add(DATA)
        world.fetch.add_origin(BoundSource(other, NAME))
        world.source.always = flip
        await world.read(2000, 3000)
        assert other.asked == [Chunk(3000, 3999)], "only what the first one had wrong, which is the middle of its span"


@pytest.mark.logs("quarantine|the list lied")
async def test_f4_a_list_of_other_content_ends_in_quarantine(tmp_path: Path) -> None:
    lie = some_bytes(len(DATA), seed=2)
    source = FakeSource()
    async with running(tmp_path, DATA, source=source, chunks=chunk_list(lie, 1000)) as world:
        source.claim(world.blob, lie, chunk_list(lie, 1000))
        # The read that completes the blob may be answered just before the verdict or just after it.
        with contextlib.suppress(BlobQuarantined):
            await world.file.read(0, len(DATA))
        await until(lambda: world.file.state == "quarantined")
        with pytest.raises(BlobQuarantined):
            await world.file.read(0, 10)
        assert not world.cache.path(world.blob.digest).exists()


@pytest.mark.logs("quarantine|the list lied")
async def test_f4_after_a_lying_list_another_source_is_asked_for_its_own(tmp_path: Path) -> None:
    lie = some_bytes(len(DATA), seed=2)
    source, honest = FakeSource("liar"), FakeSource("honest")
    honest.add(DATA, chunk_list(DATA, 1000))
    async with running(tmp_path, DATA, source=source, chunks=chunk_list(lie, 1000)) as world:
        source.claim(world.blob, lie, chunk_list(lie, 1000))
        world.fetch.add_origin(BoundSource(honest, NAME))
        await world.file.read(0, len(DATA))
        await until(lambda: bool(world.fetch.retired))
        await world.read(0, len(DATA))
        await world.sealed()


@pytest.mark.logs("quarantine|the list lied")
async def test_f4_a_lying_list_is_not_found_again_though_who_judged_it_has_not_put_it_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the map open sees the verdict at once, and opens the blob anew."""
    condemned, going_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def slowly(chunker: Chunker) -> None:
        token.run_sync_soon(condemned.set)
        assert going_on.wait(HANGS)
        put_liar_aside(chunker)

    monkeypatch.setattr(sealing, "put_liar_aside", slowly)
    lie = some_bytes(len(DATA), seed=2)
    source, honest = FakeSource("liar"), FakeSource("honest")
    honest.add(DATA, chunk_list(DATA, 1000))
    async with running(tmp_path, DATA, source=source, chunks=chunk_list(lie, 1000)) as world:
        source.claim(world.blob, lie, chunk_list(lie, 1000))
        world.fetch.add_origin(BoundSource(honest, NAME))
        try:
            await world.file.read(0, len(DATA))
            await condemned.wait()
            await world.read(0, len(DATA))
        finally:
            going_on.set()
        await world.sealed()


@pytest.mark.parametrize("single", [True, False])
async def test_p1_a_blob_without_a_list_is_served_only_when_its_whole_digest_matched(
    tmp_path: Path, single: bool
) -> None:
    async with running(tmp_path, DATA, listed=False, single_chunk_limit=len(DATA) if single else 0) as world:
        await world.read(7_000, 10)
        await world.sealed()
        assert world.source.bytes_asked == len(DATA)


@pytest.mark.logs("does not match its digest")
async def test_p2_a_blob_without_a_list_and_with_wrong_bytes_is_an_error(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, listed=False) as world:
        world.source.always = flip
        with pytest.raises(DigestMismatch):
            await world.read(0, 10)
        world.source.always = None
        await world.read(0, 10)
        await world.read(0, len(DATA))


async def test_unproved_allow_serves_while_it_arrives_and_still_seals(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, listed=False, unproved="allow") as world:
        await world.read(7_000, 10)
        assert world.source.bytes_asked == 1000
        assert world.file.state == "unproved"
        await world.read(0, len(DATA))
        await world.sealed()


async def test_unproved_refuse_is_an_error(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, listed=False, unproved="refuse") as world:
        with pytest.raises(BlobUnproved):
            await world.read(0, 10)
        assert not world.source.asked


async def test_p9_many_readers_of_one_chunk_cause_one_fetch(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        world.source.gate.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(world.read, 5_100, 200)
            await trio.testing.wait_all_tasks_blocked(0.05)
            world.source.gate.set()
        assert world.source.asked == [Chunk(5000, 5999)]


async def test_p9_two_processes_worth_of_fetchers_fetch_each_chunk_once(tmp_path: Path) -> None:
    source = FakeSource()
    async with running(tmp_path, DATA, source=source) as one, running(tmp_path, DATA, source=source) as two:
        async with trio.open_nursery() as nursery:
            for world in (one, two):
                for off in range(0, len(DATA), 2_500):
                    nursery.start_soon(world.read, off, 2_500)
        assert source.bytes_asked == len(DATA)
        await one.sealed()
        await two.sealed()


async def test_what_a_reader_that_is_gone_has_caused_is_there_for_who_comes_next(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        world.source.gate.clear()
        with trio.move_on_after(0.05):
            await world.read(0, 100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.read, 0, 100)
            await trio.testing.wait_all_tasks_blocked()
            world.source.gate.set()
        assert world.source.asked == [Chunk(0, 999)]
        await until(lambda: not world.fetch.flights)


async def test_what_a_reader_that_is_gone_has_caused_goes_no_further_when_nobody_else_wants_it(tmp_path: Path) -> None:
    """A program that was killed must not keep the link for gigabytes, nor a silent registry a worker for minutes."""
    async with running(tmp_path, DATA, timeout=60.0, span_size=1000) as world:
        await world.file.read(len(DATA) - 10, 10)  # open; the rest is absent
        fetched = world.source.bytes_asked
        world.source.gate.clear()
        async with trio.open_nursery() as nursery:
            killed = trio.CancelScope()

            async def reader() -> None:
                with killed:
                    await world.file.read(0, len(DATA))

            nursery.start_soon(reader)
            nursery.start_soon(world.read, 20_500, 10)
            await until(lambda: len(world.source.asked) > 1)
            killed.cancel()
            await until(lambda: killed.cancelled_caught)
            begun = [flight for flight in world.fetch.flights.values() if flight.started]
            assert all(flight.started or flight.wanted for flight in world.fetch.flights.values())
            world.source.gate.set()
        await until(lambda: not world.fetch.flights)
        assert world.source.bytes_asked - fetched <= 1000 * (len(begun) + 1) < len(DATA) // 2
        assert world.file.present < len(DATA) // 2
        await world.read(0, len(DATA))
