"""P8: a disk that takes no more is not an error for a reader, and nothing that is there is lost."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.sealing import seal
from fusefs.cache.disk import DiskCache
from fusefs.errors import CacheError, CacheFull, ChunkGone
from fusefs.values import metrics
from fusefs.values.chunks import ChunkList
from tests.chunkers import blob_of, fill, opened, place_of
from tests.fake_source import FakeSource, chunk_list, fail
from tests.faults.disks import refusing, small_disk, use_up
from tests.world import running, some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Refuse = Callable[[int], contextlib.AbstractContextManager[None]]

pytestmark = pytest.mark.logs("served from memory")

__all__ = ["small_disk"]

DATA = some_bytes(20_000)
FULL = [errno.ENOSPC, errno.EDQUOT, errno.EROFS]


@pytest.fixture
def refuse() -> Refuse:
    """Refuse every write of the cache while the block lasts."""
    return refusing


async def test_p8_a_blob_larger_than_the_disk_is_read_whole(small_disk: Path) -> None:
    data = some_bytes(200_000)
    async with running(small_disk, data, chunk_size=10_000) as world:
        await world.read(0, len(data))
        await world.read(0, len(data))
        assert world.source.bytes_asked == len(data), "what did not fit the disk was in memory"
        assert 0 < world.file.present < len(data)
        assert world.cache.memory.spill.used > 100_000
        assert world.counters[metrics.READ_ERRORS] == 0


async def test_p8_memory_stays_within_the_spill(small_disk: Path) -> None:
    data = some_bytes(200_000)
    async with running(small_disk, data, chunk_size=10_000, spill=25_000) as world:
        for off in range(0, len(data), 5_000):
            await world.read(off, 5_000)
            assert world.cache.memory.spill.used <= 25_000
        await world.read(0, 1_000)


async def test_p8_a_disk_that_is_full_already_still_serves(small_disk: Path) -> None:
    DiskCache.open(small_disk)
    ballast = use_up(small_disk)
    async with running(small_disk, DATA) as world:
        await world.read(0, len(DATA))
        await world.read(500, 3_000)
        assert world.file.present == 0
    ballast.unlink()
    async with running(small_disk, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()


async def test_p8_what_a_full_disk_has_is_served_from_it(small_disk: Path) -> None:
    async with running(small_disk, DATA) as world:
        await world.read(0, 5_000)
    use_up(small_disk)
    source = FakeSource()
    source.always = fail
    async with running(small_disk, DATA, source=source, listed=False) as world:
        await world.read(0, 5_000)
        source.always = None
        await world.read(4_000, 4_000)
        assert source.bytes_asked == 3_000


async def test_p7_what_is_there_is_served_when_not_even_a_map_can_be_made(small_disk: Path) -> None:
    async with running(small_disk, DATA) as world:
        await world.read(0, 5_000)
    place_of(small_disk, DATA).map.unlink()
    use_up(small_disk)
    source = FakeSource()
    async with running(small_disk, DATA, source=source, listed=False) as world:
        await world.read(0, 5_000)
        assert not source.asked
        await world.read(0, len(DATA))
        assert source.bytes_asked == len(DATA) - 5_000


async def test_p7_a_sealed_blob_is_served_from_a_full_disk(small_disk: Path) -> None:
    async with running(small_disk, DATA) as world:
        await world.read(0, len(DATA))
        await world.sealed()
    place_of(small_disk, DATA).map.unlink()
    use_up(small_disk)
    source = FakeSource()
    source.always = fail
    async with running(small_disk, DATA, source=source, listed=False) as world:
        await world.read(0, len(DATA))


async def test_p8_a_foreign_sealed_blob_without_a_list_is_proved_on_a_full_disk(small_disk: Path) -> None:
    cache = DiskCache.open(small_disk)
    cache.path(blob_of(DATA).digest).write_bytes(DATA)
    use_up(small_disk)
    source = FakeSource()
    source.always = fail
    async with running(small_disk, DATA, source=source, listed=False) as world:
        await world.read(100, 2_000)


async def test_p8_it_warns_once(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = some_bytes(200_000)
    async with running(small_disk, data, chunk_size=10_000) as world:
        await world.read(0, len(data))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "nothing that may go" in warnings[0]


@pytest.mark.parametrize("number", FULL)
async def test_p8_every_way_of_taking_no_more_is_the_same(tmp_path: Path, refuse: Refuse, number: int) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, 1_000)
        with refuse(number):
            await world.read(0, len(DATA))
            await world.read(0, len(DATA))
        assert world.source.bytes_asked == len(DATA)
        assert world.file.present == 1_000


@pytest.mark.parametrize("number", FULL)
async def test_p8_even_when_the_blob_is_opened_then(tmp_path: Path, refuse: Refuse, number: int) -> None:
    async with running(tmp_path, DATA) as world:
        with refuse(number):
            await world.read(0, len(DATA))
        await world.read(0, len(DATA))


async def test_p8_a_disk_that_has_room_again_is_used_again(tmp_path: Path, refuse: Refuse) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, 1_000)
        with refuse(errno.ENOSPC):
            await world.read(1_000, 1_000)
        await world.read(2_000, 5_000)
        assert world.file.present == 6_000
        await world.read(0, 7_000)


async def test_without_digests_a_full_disk_is_an_error_that_says_so(tmp_path: Path, refuse: Refuse) -> None:
    """It cannot be proved without the rest, and the rest will not fit either."""
    async with running(tmp_path, DATA, listed=False) as world:
        with refuse(errno.ENOSPC), pytest.raises(CacheFull, match="No space left"):
            await world.file.read(0, 10)
        await world.read(0, len(DATA))


async def test_p8_unproved_allow_serves_from_memory_too(tmp_path: Path, refuse: Refuse) -> None:
    async with running(tmp_path, DATA, listed=False, unproved="allow") as world:
        with refuse(errno.ENOSPC):
            await world.read(0, len(DATA))


@pytest.mark.parametrize("number", [errno.EIO, errno.EBADF])
async def test_a_broken_disk_is_an_error_and_never_latched(tmp_path: Path, refuse: Refuse, number: int) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, 1_000)
        with refuse(number), pytest.raises(CacheError):
            await world.file.read(1_000, 1_000)
        await world.read(1_000, 1_000)


def test_p2_a_chunk_that_left_memory_is_never_read_as_a_hole(tmp_path: Path, refuse: Refuse) -> None:
    """`missing` has found it in memory; until `pread` comes, another chunk has taken its place there."""
    with opened(tmp_path, DATA, 1_000, spill=1_500) as chunker:
        with refuse(errno.ENOSPC):
            fill(chunker, DATA, 3)
            assert not chunker.missing(3_000, 1_000)
            fill(chunker, DATA, 4)
        for read in (chunker.pread, chunker.pread_nowait):
            with pytest.raises(ChunkGone):
                read(3_000, 1_000)
            with pytest.raises(ChunkGone):
                read(2_500, 2_000)
            assert read(4_000, 1_000) == DATA[4_000:5_000]
        assert chunker.missing(3_000, 2_000) == [3]


def test_p2_the_last_chunk_that_left_memory_is_not_read_as_a_hole_either(tmp_path: Path, refuse: Refuse) -> None:
    with opened(tmp_path, DATA, 1_000) as chunker:
        with refuse(errno.ENOSPC):
            fill(chunker, DATA, 3)
        chunker.memory.forget(chunker)
        with pytest.raises(ChunkGone):
            chunker.pread(3_000, 10)


def test_a_read_across_memory_and_disk_is_whole(tmp_path: Path, refuse: Refuse) -> None:
    with opened(tmp_path, DATA, 1_000) as chunker:
        fill(chunker, DATA, 0, 2)
        with refuse(errno.ENOSPC):
            fill(chunker, DATA, 1)
        assert chunker.pread(500, 2_000) == DATA[500:2_500]
        assert chunker.pread(0, 1_000) == DATA[:1_000]


def test_a_blob_in_memory_is_not_sealed(tmp_path: Path, refuse: Refuse) -> None:
    with opened(tmp_path, DATA, 1_000) as chunker:
        fill(chunker, DATA, *range(19))
        with refuse(errno.ENOSPC):
            fill(chunker, DATA, 19)
        assert not chunker.missing(0, len(DATA))
        assert not seal(chunker)
    assert not place_of(tmp_path, DATA).sealed.exists()


def test_a_chunk_larger_than_memory_needs_the_disk(tmp_path: Path, refuse: Refuse) -> None:
    with opened(tmp_path, DATA, len(DATA)) as chunker:
        with refuse(errno.ENOSPC), pytest.raises(CacheFull):
            fill(chunker, DATA, buffer=1_000)
        fill(chunker, DATA, buffer=1_000)
        assert chunker.pread(0, len(DATA)) == DATA


async def test_p10_a_chunk_larger_than_the_budget_is_streamed(tmp_path: Path) -> None:
    data = some_bytes(3 << 20)
    chunks = chunk_list(data, len(data))
    async with running(tmp_path, data, chunks=chunks, memory=1 << 20) as world:
        await world.read(2_000_000, 100)
        await world.sealed()
        assert world.fetcher._dispatcher._buffers.capacity == 1 << 19
        assert world.source.bytes_asked == len(data)


def test_a_full_disk_keeps_the_map_of_a_blob_without_digests_out_of_it(small_disk: Path) -> None:
    """Which part of it had arrived nobody can say without the map."""
    unlisted = ChunkList.uniform(len(DATA), 1_000)
    with opened(small_disk, DATA, chunks=unlisted) as chunker:
        fill(chunker, DATA, 0)
    place_of(small_disk, DATA).map.unlink()
    use_up(small_disk)
    with opened(small_disk, DATA, chunks=unlisted) as chunker:
        assert not chunker.present_ranges()
