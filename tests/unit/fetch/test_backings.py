"""Which files are lent to a kernel, and what becomes of a sealed blob that was not proved in this boot."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.cache.blob.sealing import seal
from fusefs.cache.space.inventory import in_use
from fusefs.fetch import backings
from fusefs.values.chunks import ChunkList
from tests.chunkers import corrupt, fill, opened, place_of, reboot
from tests.world import quiet, running, some_bytes, until

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.cache.blob.backing import Backing
    from fusefs.fetch.backings import Lent
    from fusefs.values.chunks import Blob
    from tests.world import World

DATA = some_bytes(10_000)


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """A cache that has it sealed."""
    with opened(tmp_path, DATA, 1000) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
    return tmp_path


async def soon(world: World) -> Lent:
    """Open it again and again, as programs do."""
    while True:
        lent = await world.file.backing()
        if lent is not None:
            return lent
        await trio.sleep(0.01)


async def test_a_sealed_blob_is_in_use_while_it_is_lent(cached: Path) -> None:
    async with running(cached, DATA) as world:
        lent = await world.file.backing()
        assert lent is not None
        lent.handed_over()
        assert lent.right
        assert in_use(world.cache, world.blob.digest)
        lent.close()
        await until(lambda: not in_use(world.cache, world.blob.digest))


async def test_p1_what_is_not_whole_is_not_lent(tmp_path: Path) -> None:
    async with running(tmp_path, DATA, readahead_max=1) as world:
        assert await world.file.backing() is None
        await world.read(0, 1000)
        await world.fetcher.look([world.blob])
        assert await world.file.backing() is None
        await world.read(0, len(DATA))
        await world.sealed()
        lent = await world.file.backing()
        assert lent is not None
        lent.close()


@pytest.mark.parametrize("listed", [True, False])
async def test_p5_what_an_earlier_boot_has_sealed_is_proved_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    """The first open is an ordinary one; no byte is read through us, and none comes from the network."""
    with opened(tmp_path, DATA, chunks=None if listed else ChunkList.uniform(len(DATA), 1000)) as chunker:
        fill(chunker, DATA)
        assert seal(chunker)
    reboot(monkeypatch)
    async with running(tmp_path, DATA) as world:
        assert await world.file.backing() is None
        lent = await soon(world)
        assert lent.right
        lent.close()
        assert not world.source.asked


@pytest.mark.logs("it will be repaired")
async def test_p5_what_has_rotten_since_is_mended_before_it_is_lent(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reboot(monkeypatch)
    corrupt(place_of(cached, DATA).sealed, 4500)
    async with running(cached, DATA) as world:
        assert await world.file.backing() is None
        await world.sealed()
        await quiet(world)
        lent = await soon(world)
        assert lent.right
        lent.close()
    assert place_of(cached, DATA).sealed.read_bytes() == DATA


async def test_p6_open_does_not_wait_for_a_disk_that_hangs(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes too late for whoever opened the file is given back."""
    released, looking = threading.Event(), threading.Event()
    async with running(cached, DATA) as world:
        real = world.cache.backing

        asked = 0

        def slow(*args: object) -> object:
            nonlocal asked
            asked += 1
            looking.set()
            released.wait(20)
            return real(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(world.cache, "backing", slow)
        monkeypatch.setattr(backings, "PATIENCE", 0.05)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(world.file.backing)
        assert looking.is_set()
        for _ in range(20):
            assert await world.file.backing() is None, "at once, and with no thread of its own"
        assert asked == 1
        released.set()
        await until(lambda: world.fetcher._backings._taken == 0)
        await until(lambda: not in_use(world.cache, world.blob.digest))


async def test_no_more_are_lent_than_there_are_descriptors_for(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusefs.system.descriptors.limit", lambda: 16)
    async with running(cached, DATA) as world:
        lent = await world.file.backing()
        assert lent is not None
        assert await world.file.backing() is None
        lent.close()
        lent = await world.file.backing()
        assert lent is not None
        lent.close()


async def test_two_files_of_one_blob_are_both_lent(cached: Path) -> None:
    async with running(cached, DATA) as world:
        found: list[Lent | None] = []

        async def take() -> None:
            found.append(await world.file.backing())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(take)
        for lent in found:
            assert lent is not None
            lent.close()


async def test_p11_the_end_of_a_mount_does_not_wait_for_a_disk_that_hangs(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the thread finds when the disk answers at last is closed."""
    released, closed = threading.Event(), threading.Event()
    async with running(cached, DATA) as world:
        real = world.cache.backing

        def slow(blob: Blob) -> Backing | None:
            released.wait(20)
            backing = real(blob)
            assert backing is not None
            close = backing.close

            def closing() -> None:
                close()
                closed.set()

            backing.close = closing  # type: ignore[method-assign]
            return backing

        monkeypatch.setattr(world.cache, "backing", slow)
        monkeypatch.setattr(backings, "PATIENCE", 0.05)
        assert await world.file.backing() is None
    assert not closed.is_set()
    released.set()
    assert await trio.to_thread.run_sync(closed.wait, 20)
