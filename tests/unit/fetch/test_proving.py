"""The prover: claims after a reboot, sealed blobs that have rotten, blobs that can only be proved as a whole."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.cache.blob.sealing import seal
from fusefs.cache.disk import DiskCache
from fusefs.errors import BlobQuarantined, ReadTimeout, SourceError
from fusefs.fetch import bulk, proving
from fusefs.fetch.flight import Priority
from fusefs.sources.bound import BoundSource
from fusefs.system import cores
from tests.chunkers import blob_of, corrupt, fill, opened, place_of, reboot
from tests.fake_source import FakeSource, chunk_list, fail, flip
from tests.world import NAME, quiet, running, some_bytes, until

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.cache.blob.chunker import Chunker

DATA = some_bytes(10_500)


def offline() -> FakeSource:
    source = FakeSource()
    source.always = fail
    return source


async def test_p5_after_a_reboot_what_is_right_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, 6_000)
    reboot(monkeypatch)
    async with running(tmp_path, DATA) as world:
        await world.read(0, len(DATA))
        assert world.source.bytes_asked == len(DATA) - 6_000
        await world.sealed()


async def test_p5_after_a_reboot_what_is_wrong_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, 6_000)
    corrupt(place_of(tmp_path, DATA).data, 2_500)
    reboot(monkeypatch)
    async with running(tmp_path, DATA) as world:
        await world.read(0, 6_000)
        assert world.source.bytes_asked == 1_000


@pytest.mark.logs("it will be repaired")
async def test_p5_a_sealed_blob_is_repaired_from_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    corrupt(place_of(tmp_path, DATA).sealed, 2_500)
    reboot(monkeypatch)
    async with running(tmp_path, DATA) as world:
        await world.read(0, len(DATA))
        assert world.source.bytes_asked == 1_000
        await until(lambda: place_of(tmp_path, DATA).sealed.exists())
        assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


@pytest.mark.logs("it will be repaired|no bytes 2000-2999 today")
async def test_p7_offline_a_rotten_chunk_of_a_sealed_blob_is_an_error_for_that_chunk_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    corrupt(place_of(tmp_path, DATA).sealed, 2_500)
    reboot(monkeypatch)
    async with running(tmp_path, DATA, source=offline(), listed=False) as world:
        with pytest.raises(SourceError):
            await world.file.read(2_000, 1_000)
        await world.read(0, 2_000)
        await world.read(3_000, len(DATA))
        with pytest.raises(SourceError):
            await world.file.read(1_999, 2)


async def test_p7_a_sealed_blob_of_an_earlier_boot_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    reboot(monkeypatch)
    source = offline()
    async with running(tmp_path, DATA, source=source, listed=False) as world:
        assert world.file.state == "sealed"
        await world.read(0, len(DATA))
        assert not source.asked


async def test_a_foreign_sealed_blob_is_proved_as_a_whole_with_no_network(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    cache.path(blob_of(DATA).digest).write_bytes(DATA)
    source = offline()
    async with running(tmp_path, DATA, source=source, listed=False) as world:
        await world.read(100, 10)
        assert not source.asked
    assert cache.pinned_list(blob_of(DATA)) == chunk_list(DATA, 1000), "so that next time it is proved by the chunk"


@pytest.mark.logs("it will be repaired|does not match its digest")
async def test_p4_a_foreign_sealed_blob_that_is_wrong_is_fetched(tmp_path: Path) -> None:
    path = DiskCache.open(tmp_path).path(blob_of(DATA).digest)
    path.write_bytes(bytes(len(DATA)))
    async with running(tmp_path, DATA, listed=False) as world:
        await world.read(100, 10)
        assert path.read_bytes() == DATA


async def test_whoever_fetched_the_last_chunk_and_died_is_followed_by_who_seals(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, 1000) as chunker:
        fill(chunker, DATA)
    async with running(tmp_path, DATA) as world:
        await world.read(0, 1)
        await world.sealed()
        assert not world.source.asked


async def test_complete_fetches_all_and_seals(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(4_000, 10)
        await world.fetcher.complete(world.fetch)
        assert world.cache.path(world.blob.digest).read_bytes() == DATA
        assert world.source.bytes_asked == len(DATA)
        await world.fetcher.complete(world.fetch)
        assert world.source.bytes_asked == len(DATA)


@pytest.mark.parametrize("listed", [True, False])
async def test_complete_says_why_it_could_not(tmp_path: Path, listed: bool) -> None:
    async with running(tmp_path, DATA, listed=listed) as world:
        world.source.always = fail
        with pytest.raises(SourceError):
            await world.fetcher.complete(world.fetch)
        await until(lambda: not world.fetch.flights)
        world.source.always = None
        await world.fetcher.complete(world.fetch, Priority.FILL)
        assert world.file.state == "sealed"


@pytest.mark.logs("quarantine|the list lied")
async def test_f4_complete_of_a_lie_is_an_error(tmp_path: Path) -> None:
    lie = some_bytes(len(DATA), seed=2)
    source = FakeSource()
    async with running(tmp_path, DATA, source=source, chunks=chunk_list(lie, 1000)) as world:
        source.claim(world.blob, lie, chunk_list(lie, 1000))
        with pytest.raises(BlobQuarantined):
            await world.fetcher.complete(world.fetch)


@pytest.mark.logs("does not match|dropped|digest")
async def test_p4_what_arrived_wrong_without_a_list_is_had_from_the_next_source(tmp_path: Path) -> None:
    """With `--unproved allow` nothing tells wrong bytes before all of them are here."""
    wrong, right = FakeSource("wrong"), FakeSource("right")
    async with running(tmp_path, DATA, source=wrong, listed=False, unproved="allow") as world:
        wrong.claim(world.blob, some_bytes(len(DATA), seed=2))
        right.add(DATA)
        world.fetch.add_origin(BoundSource(right, NAME))
        await world.fetcher.complete(world.fetch)
        assert world.cache.path(world.blob.digest).read_bytes() == DATA
        assert wrong.bytes_asked == right.bytes_asked == len(DATA)


async def test_p6_a_read_that_gets_nothing_ends_in_its_time_and_the_next_one_can_succeed(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, timeout=0.05) as world:
        world.source.gate.clear()
        with pytest.raises(ReadTimeout, match="bytes 0-9"):
            await world.file.read(0, 10)
        world.source.gate.set()
        await until(lambda: not world.fetch.flights)
        await world.read(0, 10)


async def test_p6_a_whole_blob_that_gets_nothing_ends_in_its_time(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, listed=False, timeout=0.05) as world:
        # Or the time were up while a slow disk opens the blob, nothing on its way, and nobody left who wants it.
        await world.fetcher.open(world.fetch)
        world.source.gate.clear()
        with pytest.raises(ReadTimeout):
            await world.file.read(0, 10)
        world.source.gate.set()
        await world.sealed()
        await world.read(0, 10)


async def test_p9_many_readers_of_a_blob_without_a_list_cause_one_fetch(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, listed=False) as world:
        async with trio.open_nursery() as nursery:
            for off in range(0, 10_000, 500):
                nursery.start_soon(world.read, off, 500)
        assert world.source.bytes_asked == len(DATA)


async def test_p2_unproved_allow_does_not_serve_what_a_power_cut_has_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, DATA, listed=False, unproved="allow") as world:
        await world.read(3_000, 2_000)
    data = place_of(tmp_path, DATA).data
    size = data.stat().st_size
    os.truncate(data, 0)
    os.truncate(data, size)  # the marks have reached the disk, the bytes have not
    reboot(monkeypatch)
    async with running(tmp_path, DATA, listed=False, unproved="allow") as world:
        await world.read(3_000, 2_000)
        await world.read(0, len(DATA))
        await world.sealed()


def say_of_the_cores(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernel say how many threads run."""
    (folder / "loadavg").write_text(f"0.00 0.00 0.00 {text}/300 4711\n")
    monkeypatch.setattr(cores, "LOADAVG", folder / "loadavg")


@pytest.mark.parametrize("memory", [1 << 20, 2000])
async def test_p4_what_the_running_hash_left_to_readers_is_made_up_for_when_nothing_is_missing(
    memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No core is ever idle, and the memory may be far too small for what was left out."""
    say_of_the_cores("1000", tmp_path, monkeypatch)
    async with running(tmp_path, DATA, memory=memory, spill=memory) as world:
        await world.read(0, 8_000)
        await quiet(world)
        assert world.fetch.chunker is not None
        assert world.fetch.chunker.prefix.index == 0, "a core that a reader needs was taken"
        await world.read(8_000, 2_500)
        await world.sealed()
        assert world.source.bytes_asked == len(DATA)
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


async def test_the_running_hash_follows_a_reader_while_a_core_is_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_of_the_cores("1", tmp_path, monkeypatch)
    async with running(tmp_path, DATA) as world:
        await world.read(0, 6_000)
        chunker = world.fetch.chunker
        assert chunker is not None
        await until(lambda: chunker.prefix.index >= 6)


async def test_the_running_hash_follows_a_pull_whatever_runs_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads what a pull fetches, and the pull ends when the hash does."""
    say_of_the_cores("1000", tmp_path, monkeypatch)
    source = FakeSource()
    source.always = lambda chunk, data: fail(chunk, data) if chunk.stop > len(DATA) - 1_000 else data
    async with running(tmp_path, DATA, source=source) as world:
        with pytest.raises(SourceError):
            await world.fetcher.complete(world.fetch)
        chunker = world.fetch.chunker
        assert chunker is not None
        await until(lambda: chunker.prefix.index >= 4)
        assert not chunker.complete


@pytest.mark.logs("does not match its digest")
async def test_p4_what_has_come_wrong_as_a_whole_is_fetched_again(tmp_path: Path) -> None:
    """The sources change places, so the accident may happen to each of them."""
    source = FakeSource()
    source.faults += [flip, None, None]
    async with running(tmp_path, DATA, source=source, listed=False) as world:
        await world.read(0, len(DATA))
        assert source.bytes_asked == 2 * len(DATA)


@pytest.mark.parametrize("ignores_range", [False, True], ids=["ranges", "one stream"])
async def test_what_comes_as_a_whole_for_a_reader_that_is_gone_comes_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignores_range: bool
) -> None:
    """As long as another one waits for it, all of it comes; the next one who wants it has the rest."""
    monkeypatch.setattr(bulk, "_ALL_AHEAD", 6_000)  # more is asked for as these arrive
    source = FakeSource()
    source.ignores_range = ignores_range
    async with running(tmp_path, DATA, source=source, listed=False, timeout=60.0, span_size=1000) as world:
        source.gate.clear()
        async with trio.open_nursery() as nursery:
            killed = [trio.CancelScope(), trio.CancelScope()]

            async def reader(scope: trio.CancelScope) -> None:
                with scope:
                    await world.file.read(0, 10)

            for scope in killed:
                nursery.start_soon(reader, scope)
            await until(lambda: len(source.asked) > 0 and not world.fetcher.threads.busy)
            killed[0].cancel()
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(world.fetch.flights) == 6, "somebody waits for it still"
            killed[1].cancel()
            await until(lambda: killed[1].cancelled_caught)
            assert all(flight.started for flight in world.fetch.flights.values()), "what has not begun does not begin"
            begun = len(world.fetch.flights)
        source.gate.set()
        await until(lambda: not world.fetch.flights)
        await quiet(world)
        assert world.file.present <= 1000 * begun < len(DATA)
        assert world.file.state == "partial" or not world.file.present
        asked = len(source.asked)
        await world.read(0, len(DATA))
        await world.sealed()
        assert not ignores_range or len(source.asked) <= asked + 4, "the stream takes along what passes, as ever"


@pytest.mark.logs("does not match its digest")
@pytest.mark.parametrize("another", [False, True], ids=["nobody", "another"])
async def test_what_is_found_wrong_when_its_reader_is_gone_is_fetched_again_for_another_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, another: bool
) -> None:
    source = FakeSource()
    source.faults.append(flip)
    begun, held = threading.Event(), threading.Event()

    def held_up(chunker: Chunker) -> bool:
        begun.set()
        held.wait()
        return seal(chunker)

    monkeypatch.setattr(proving, "seal", held_up)
    async with running(tmp_path, DATA, source=source, listed=False, timeout=60.0) as world:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.file.read, 0, 10)
            await until(begun.is_set)
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            if another:
                nursery.start_soon(world.read, 0, len(DATA))
                await trio.testing.wait_all_tasks_blocked()
            held.set()
        await quiet(world)
        assert source.bytes_asked == (2 if another else 1) * len(DATA)
        await world.read(0, len(DATA))
        assert source.bytes_asked == 2 * len(DATA)


async def test_a_reader_who_comes_as_another_one_is_killed_has_all_of_a_blob_without_a_list(tmp_path: Path) -> None:
    """What was dropped with the dead is wanted again at once, by him, and what a worker is about to give up, too."""
    async with running(tmp_path, DATA, listed=False, timeout=60.0, span_size=1000) as world:
        world.source.gate.clear()
        async with trio.open_nursery() as nursery:
            killed = trio.CancelScope()

            async def one_after_the_other() -> None:
                with killed:
                    await world.file.read(0, 10)
                await world.read(0, len(DATA))  # in the same moment

            nursery.start_soon(one_after_the_other)
            await until(lambda: len(world.source.asked) > 0 and not world.fetcher.threads.busy)
            killed.cancel()
            await until(lambda: killed.cancelled_caught)
            await trio.testing.wait_all_tasks_blocked()
            assert len(world.fetch.flights) == 11
            world.source.gate.set()
        await world.sealed()
