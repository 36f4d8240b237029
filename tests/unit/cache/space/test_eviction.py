"""Eviction and quota: what goes, what stays, and that nobody ever reads the hole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

from fusefs.cache.blob.mapfile import ABSENT, PRESENT
from fusefs.cache.blob.sealing import seal
from fusefs.cache.disk import DiskCache
from fusefs.cache.space.eviction import evict, evict_chunks, scan, used
from fusefs.cache.space.quota import Limits
from fusefs.errors import CacheFull
from fusefs.values.chunks import ChunkList
from tests.chunkers import blob_of, fill, holding, place_of
from tests.fake_source import chunk_list
from tests.world import running, some_bytes, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.space.eviction import HeldBlob

CHUNK = 4096
DATA = some_bytes(64 * CHUNK)
OTHER = some_bytes(64 * CHUNK, seed=2)


@contextlib.contextmanager
def opened(cache: DiskCache, data: bytes, *, sealed: bool = False) -> Iterator[Chunker]:
    chunker = cache.chunker(blob_of(data), chunk_list(data, CHUNK))
    try:
        fill(chunker, data, *[i for i in range(64) if chunker.map[i] == ABSENT])
        assert not sealed or seal(chunker)
        yield chunker
    finally:
        chunker.close()


def keep(cache: DiskCache, data: bytes, *, sealed: bool = False) -> None:
    """Have all of a blob in the cache, and nobody using it."""
    with opened(cache, data, sealed=sealed):
        pass


def held(cache: DiskCache, data: bytes) -> HeldBlob:
    return next(one for one in scan(cache) if one.digest == blob_of(data).digest)


def here(cache: DiskCache, data: bytes) -> list[int]:
    with contextlib.closing(cache.chunker(blob_of(data), chunk_list(data, CHUNK))) as chunker:
        return [i for i in range(64) if chunker.present(i)]


def use(chunker: Chunker, seconds: int, *indices: int) -> None:
    for index in indices or range(len(chunker.chunks)):
        chunker.usage.seconds[index] = seconds


@pytest.mark.parametrize("sealed", [False, True])
def test_what_goes_of_an_unused_blob_is_its_end(tmp_path: Path, sealed: bool) -> None:
    cache = DiskCache.open(tmp_path)
    keep(cache, DATA, sealed=sealed)
    before = used(cache)
    assert evict(cache, held(cache, DATA), 10 * CHUNK) == 10 * CHUNK
    assert used(cache) == before - 10 * CHUNK
    assert here(cache, DATA) == list(range(54))
    assert not place_of(tmp_path, DATA).sealed.exists(), "what has its final name is whole (P4)"


def test_what_was_evicted_is_taken_again_and_sealed_again(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    keep(cache, DATA, sealed=True)
    evict(cache, held(cache, DATA), 10 * CHUNK)
    with opened(cache, DATA, sealed=True) as chunker:
        assert chunker.pread(0, len(DATA)) == DATA
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


def test_all_of_a_blob_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    keep(cache, DATA, sealed=True)
    keep(cache, OTHER)
    for data in (DATA, OTHER):
        assert evict(cache, held(cache, data), 1 << 40) >= len(data)
    assert scan(cache) == []
    assert list((tmp_path / "partial").iterdir()) == []
    keep(cache, DATA, sealed=True)
    assert here(cache, DATA) == list(range(64))


def test_p9_what_another_process_has_open_stays(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    with contextlib.closing(cache.chunker(blob_of(DATA), chunk_list(DATA, 100))) as chunker:
        fill(chunker, DATA, 0, 1, 2)
    with holding(tmp_path, DATA, 5):
        assert evict(cache, held(cache, DATA), 1 << 40) == 0
        assert evict(cache, held(cache, DATA), 100) == 0
    with contextlib.closing(cache.chunker(blob_of(DATA), chunk_list(DATA, 100))) as chunker:
        assert [i for i in range(5) if chunker.map[i] == PRESENT] == [0, 1, 2]
    assert evict(cache, held(cache, DATA), 100) > 0, "its end frees the blob"


def test_p2_a_program_that_has_opened_the_sealed_file_reads_no_hole(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    keep(cache, DATA, sealed=True)
    with place_of(tmp_path, DATA).sealed.open("rb", buffering=0) as program:
        assert evict(cache, held(cache, DATA), 10 * CHUNK) == 0
        assert place_of(tmp_path, DATA).sealed.exists()
        assert evict(cache, held(cache, DATA), 1 << 40) > 0, "as a whole it is unlinked, which harms nobody"
        assert program.read() == DATA


def test_p2_a_program_that_opens_the_sealed_file_as_it_goes_has_it_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had found the name before it was taken away, and waits for the lease."""
    cache = DiskCache.open(tmp_path)
    keep(cache, DATA, sealed=True)
    got: list[bytes] = []
    asking = threading.Thread(target=lambda: got.append(place_of(tmp_path, DATA).sealed.read_bytes()))
    rename = os.rename

    def late(source: str, target: str, **kwargs: Any) -> None:
        monkeypatch.setattr(os, "rename", rename)
        asking.start()
        while fcntl.fcntl(cache.open_here()[0].fd, fcntl.F_GETLEASE) == fcntl.F_WRLCK:
            pass
        rename(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", late)
    assert evict(cache, held(cache, DATA), 10 * CHUNK) == 0
    asking.join(10)
    assert got == [DATA]
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA
    assert place_of(tmp_path, DATA).sealed.stat().st_mode & 0o777 == 0o400


def test_a_sealed_blob_that_this_process_reads_gives_its_oldest_chunks(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    with opened(cache, DATA, sealed=True) as chunker:
        assert evict_chunks(chunker, range(3), 1 << 40) == 3 * CHUNK
        assert not chunker.sealed
        assert chunker.missing(0, len(DATA)) == [0, 1, 2]
        assert chunker.pread(3 * CHUNK, 61 * CHUNK) == DATA[3 * CHUNK :]
        fill(chunker, DATA, 0, 1, 2)
        assert seal(chunker)
        assert chunker.pread(0, len(DATA)) == DATA


def test_p9_a_chunk_that_a_worker_has_is_not_taken_from_it(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    with opened(cache, DATA) as chunker:
        assert chunker.try_lock(1)
        assert evict_chunks(chunker, range(3), 1 << 40) == 2 * CHUNK
        assert chunker.missing(0, 3 * CHUNK) == [0, 2]


def test_what_somebody_waits_for_is_not_taken(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    with opened(cache, DATA) as chunker:
        chunker.usage.readers.append((CHUNK + 1, 2 * CHUNK + 1))
        assert evict_chunks(chunker, range(4), 1 << 40) == 2 * CHUNK
        assert chunker.missing(0, 4 * CHUNK) == [0, 3]


def test_a_blob_without_digests_of_its_chunks_goes_only_as_a_whole(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    with contextlib.closing(cache.chunker(blob_of(DATA), ChunkList.uniform(len(DATA), CHUNK))) as chunker:
        fill(chunker, DATA, 0, 1, 2)
        assert evict_chunks(chunker, range(3), CHUNK) == 0
        assert evict(cache, held(cache, DATA), CHUNK) == 0, "it is open"
    assert evict(cache, held(cache, DATA), CHUNK) > 0
    assert scan(cache) == []


# Quota


def test_the_least_recently_used_goes_first_chunk_by_chunk_over_all_blobs(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path, limits=Limits(size=130 * CHUNK, keep_free=0))
    with opened(cache, DATA) as one, opened(cache, OTHER) as two:
        use(one, 100)
        use(two, 100)
        use(one, 50, 7, 8)
        use(two, 40, 9)
        with cache.quota.room(5 * CHUNK):
            pass
        assert two.missing(0, len(DATA)) == [9]
        assert one.missing(0, len(DATA)) == [7, 8]


def test_to_ask_for_room_makes_nothing_go(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path, limits=Limits(size=80 * CHUNK, keep_free=0))
    with opened(cache, DATA) as one:
        assert cache.quota.has_room(8 * CHUNK)
        assert not cache.quota.has_room(30 * CHUNK)
        assert one.missing(0, len(DATA)) == []
        assert cache.quota.evicted == 0


def test_pinned_blobs_stay_though_they_are_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache.open(tmp_path, limits=Limits(size=128 * CHUNK, keep_free=0))
    monkeypatch.setattr(cache.pins, "digests", lambda: frozenset([blob_of(DATA).digest]))
    with opened(cache, DATA) as one, opened(cache, OTHER) as two:
        use(one, 1)
        with cache.quota.room(20 * CHUNK):
            pass
        assert one.missing(0, len(DATA)) == []
        assert len(two.missing(0, len(DATA))) >= 20
        with pytest.raises(CacheFull, match="nothing that may go"), cache.quota.room(65 * CHUNK):
            pass


def test_the_disk_keeps_its_free_space(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    free = found.f_bavail * found.f_frsize
    cache = DiskCache.open(tmp_path, limits=Limits(keep_free=free + (1 << 40)))
    with pytest.raises(CacheFull, match="have to stay free"), cache.quota.room(1):
        pass


@pytest.mark.parametrize(("disk", "floor"), [(1 << 30, (1 << 30) // 20), (1 << 40, 2 << 30)])
def test_the_floor_is_a_twentieth_of_the_disk_but_no_more_than_2_gib(disk: int, floor: int) -> None:
    assert Limits().floor(disk) == floor
    assert Limits(keep_free=5).floor(disk) == 5


def test_when_it_was_used_is_known_to_the_next_process(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    keep(cache, DATA)
    keep(cache, OTHER)
    with opened(cache, DATA) as chunker:
        chunker.pread(0, 1)
        noted = chunker.map.last_use
        assert noted > 1_700_000_000
    with opened(cache, OTHER) as chunker:
        chunker.map.note_use(noted + 5)
    assert [one.last_use for one in scan(DiskCache.open(tmp_path))] == [noted, noted + 5]
    with contextlib.closing(cache.chunker(blob_of(DATA), chunk_list(DATA, CHUNK))) as chunker:
        assert set(chunker.usage.seconds) == {noted}


def test_a_note_of_use_that_has_rotted_does_no_harm(tmp_path: Path) -> None:
    cache = DiskCache.open(tmp_path)
    with opened(cache, DATA) as chunker:
        chunker.map.note_use((1 << 64) - 1)
    with opened(cache, DATA) as chunker:
        assert max(chunker.usage.seconds) < 1 << 32
        chunker.pread(0, 1)
    assert evict(cache, held(cache, DATA), CHUNK) == CHUNK


# Readers beside it


@pytest.mark.slow
async def test_p2_readers_beside_an_eviction_that_never_rests_get_right_bytes(tmp_path: Path) -> None:
    """All of it goes again and again, from under 8 readers who want all of it."""
    async with running(tmp_path, DATA, chunk_size=CHUNK, readahead_max=8 * CHUNK) as world:
        await world.read(0, CHUNK)
        chunker = world.fetch.chunker
        assert chunker is not None
        stop = threading.Event()
        gone = 0

        def harass() -> None:
            nonlocal gone
            while not stop.is_set():
                gone += evict_chunks(chunker, range(64), 1 << 40)

        async def reader(seed: int) -> None:
            for step in range(60):
                await world.read((seed * 7 + step * 5) % 63 * CHUNK + seed, CHUNK + 50)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, harass)
            try:
                async with trio.open_nursery() as readers:
                    for seed in range(8):
                        readers.start_soon(reader, seed)
            finally:
                stop.set()
        assert gone > 100 * CHUNK, "it was hardly a trial"


async def test_p8_a_blob_larger_than_the_quota_streams_through(tmp_path: Path) -> None:
    async with running(
        tmp_path, DATA, chunk_size=CHUNK, cache_size=16 * CHUNK, keep_free=0, span_size=CHUNK, spill=64 * CHUNK
    ) as world:
        for _ in range(2):
            for off in range(0, len(DATA), CHUNK):
                await world.read(off, CHUNK)
                assert used(world.cache) <= 20 * CHUNK, "the quota, and what workers were just writing"
        await until(lambda: not world.fetch.flights)
        assert world.cache.quota.evicted > 32 * CHUNK
        assert world.file.state == "partial"
