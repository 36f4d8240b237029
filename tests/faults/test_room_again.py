"""P8: what a full disk would not take is on it as soon as there is room again, and the blob is sealed."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.cache.disk import DiskCache
from fusefs.errors import CacheFull
from fusefs.fetch.flight import Priority
from fusefs.vfs.blobfile import BlobFile
from tests.chunkers import fill, holding, opened, place_of
from tests.faults.disks import refusing, small_disk, use_up
from tests.world import running, some_bytes, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World

pytestmark = pytest.mark.logs("served from memory")

__all__ = ["small_disk"]

DATA = some_bytes(20_000)


async def test_p8_what_waits_in_memory_goes_to_the_disk_when_there_is_room_again(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        with refusing(errno.ENOSPC):
            await world.read(1_000, 1_000)
        await world.read(0, len(DATA))
        await world.sealed()
        assert world.source.bytes_asked == len(DATA), "nothing was fetched twice"
        assert world.cache.memory.spill.used == 0
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
async def test_p8_nobody_has_to_read_for_that(tmp_path: Path, number: int) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, 1_000)
        with refusing(number):
            await world.read(0, len(DATA))
        await world.sealed()
        assert world.source.bytes_asked == len(DATA)


async def test_p8_a_blob_that_was_opened_on_a_full_disk_reaches_it_all_the_same(small_disk: Path) -> None:
    """It has no map and no data there, so all of it is in memory; a reader goes on meanwhile."""
    DiskCache.open(small_disk)
    ballast = use_up(small_disk)
    async with running(small_disk, DATA) as world:
        await world.read(0, len(DATA))
        assert world.fetch.chunker is not None
        assert world.fetch.chunker.map.fd < 0
        ballast.unlink()
        while world.file.state != "sealed":
            await world.read(500, 3_000)
            await trio.sleep(0.01)
        await world.read(0, len(DATA))
        assert world.source.bytes_asked == len(DATA)


async def test_p8_a_blob_that_was_opened_on_a_full_disk_is_completed(small_disk: Path) -> None:
    DiskCache.open(small_disk)
    ballast = use_up(small_disk)
    async with running(small_disk, DATA) as world:
        await world.read(0, 5_000)
        with pytest.raises(CacheFull):
            await world.fetcher.complete(world.fetch)
        ballast.unlink()
        await world.fetcher.complete(world.fetch)
        assert world.file.state == "sealed"
        assert world.source.bytes_asked == len(DATA)


@pytest.mark.parametrize("priority", [Priority.READ_AHEAD, Priority.FILL])
async def test_p8_complete_writes_what_waits_in_memory(tmp_path: Path, priority: Priority) -> None:
    async with running(tmp_path, DATA) as world:
        with refusing(errno.ENOSPC):
            await world.read(1_000, 4_000)
        await world.fetcher.complete(world.fetch, priority)
        assert world.file.state == "sealed"


async def test_p8_complete_on_a_disk_that_stays_full_says_so_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        await world.read(0, 1_000)
        with refusing(errno.ENOSPC), pytest.raises(CacheFull, match="No space left"):
            await world.fetcher.complete(world.fetch)
        await world.fetcher.complete(world.fetch)
        assert world.source.bytes_asked == len(DATA)


async def test_p8_fill_goes_on_when_the_disk_was_full_for_a_moment(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as world:
        file = BlobFile(world.fetcher, world.fetch, fill=True)
        with refusing(errno.ENOSPC):
            file.open()
            await until(lambda: bool(world.cache.memory.spill.used))
        await world.sealed()
        file.release()


async def test_p8_what_was_given_up_in_memory_is_fetched_again_by_complete(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, spill=3_000) as world:
        with refusing(errno.ENOSPC):
            for off in range(0, 10_000, 1_000):
                await world.read(off, 1_000)
        await world.fetcher.complete(world.fetch)
        assert world.file.state == "sealed"


async def test_p8_a_chunk_without_a_digest_of_its_own_goes_to_the_disk_too(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, listed=False, unproved="allow") as world:
        with refusing(errno.ENOSPC):
            await world.read(1_000, 1_000)
        await world.read(0, len(DATA))
        await world.sealed()


@pytest.mark.slow
async def test_p9_a_chunk_that_another_process_has_is_left_to_it(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, chunk_size=100) as world:
        await world.read(0, 100)
        with contextlib.ExitStack() as stack:
            with refusing(errno.ENOSPC):
                await world.read(1_000, 1_000)
                await trio.to_thread.run_sync(stack.enter_context, holding(tmp_path, DATA, 12))
            await until(lambda: world.cache.memory.spill.used == 100)
            assert (world.fetch.chunker, 12) in world.cache.memory.spill
        await until(lambda: not world.cache.memory.spill.used)
        await world.read(1_000, 1_000)


async def test_p2_whoever_reads_while_chunks_go_to_the_disk_gets_the_right_bytes(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, chunk_size=100) as world:
        with refusing(errno.ENOSPC):
            await world.read(0, len(DATA))
        async with trio.open_nursery() as nursery:
            for reader in range(4):
                nursery.start_soon(_read_until_sealed, world, reader)
        assert world.source.bytes_asked == len(DATA)


async def _read_until_sealed(world: World, reader: int) -> None:
    off = reader * 1_777
    while world.file.state != "sealed":
        await world.read(off % (len(DATA) - 500), 500)
        off += 1_313
        await trio.lowlevel.checkpoint()


def test_the_read_buffer_grows_back_when_the_spill_is_empty_again(tmp_path: Path) -> None:
    with opened(tmp_path, DATA, 1_000, spill=10_000) as chunker:
        recent = chunker.memory.recent
        with refusing(errno.ENOSPC):
            fill(chunker, DATA, *range(8))
        assert not recent.has_room(4_096), "the budget is one for both"
        for index in range(8):
            chunker.memory.spill.drop(chunker, index)
        assert recent.has_room(8_192)
        with refusing(errno.ENOSPC):
            fill(chunker, DATA, *range(8, 16))
        assert not recent.has_room(4_096)
        chunker.memory.forget(chunker)
        assert recent.has_room(8_192)
