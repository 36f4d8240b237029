"""SiblingFetch: one cold read of a small file has the other small files of its model fetched, and nothing else."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from fusefs.cache.space.quota import Quota
from fusefs.engine.models import group_small
from fusefs.errors import SourceError
from fusefs.fetch import lookout
from fusefs.prefetch.siblings import MOST_AHEAD, MOST_FILES
from fusefs.sources.bound import BoundSource
from fusefs.values.chunks import Chunk
from fusefs.values.digest import Digest
from fusefs.values.settings import MIB
from fusefs.values.snapshot import File, Slice, Snapshot
from fusefs.vfs.blobfile import BlobFile
from tests.fake_source import FakeSource, fail
from tests.patience import HANGS
from tests.world import NAME, SETTINGS, World, running, some_bytes, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Sequence
    from pathlib import Path

    from fusefs.fetch.sight import Sight
    from fusefs.values.settings import Settings

ALONE = some_bytes(50)
"""Of the world's own blob, which belongs to no model."""

SIZE = 100
"""Bytes of the first file of a model; each next one has a byte more, by which it is known in what was asked for."""

SMALL_SETTINGS = replace(SETTINGS, single_chunk_limit=MIB, memory=64 * MIB)


class Models:
    """Small files of models, in a world; by the number of each, which counts through all models."""

    def __init__(self, world: World, counts: Sequence[int], settings: Settings, in_place: Container[Digest]) -> None:
        self.world, self.files = world, list[BlobFile]()
        self.data = [some_bytes(SIZE + number, seed=number) for number in range(sum(counts))]
        self.models, first = list[Snapshot](), 0
        for count in counts:
            self.models.append(self._model(range(first, first + count)))
            first += count
        group_small(world.fetcher, self.models, settings, in_place)

    def _model(self, numbers: range) -> Snapshot:
        blobs = tuple(self.world.source.add(self.data[number]) for number in numbers)
        for blob in blobs:
            fetch = self.world.fetcher.track(blob)
            fetch.add_origin(BoundSource(self.world.source, NAME))
            self.files.append(BlobFile(self.world.fetcher, fetch))
        shown = tuple(File(f"{number:05}", Slice.whole(blob)) for number, blob in zip(numbers, blobs, strict=True))
        return Snapshot(NAME, Digest.of(bytes(numbers.start)), shown, blobs, b"")

    async def read(self, number: int) -> None:
        """As a program does it."""
        file = self.files[number]
        file.open()
        assert bytes(await file.read(0, 1000)) == self.data[number]
        file.release()

    @property
    def asked(self) -> list[int]:
        """The files that the source was asked for, in order."""
        return [chunk.size - SIZE for chunk in self.world.source.asked if chunk != Chunk(0, len(ALONE) - 1)]

    async def quiet(self) -> None:
        """Until nothing is on its way, or wanted."""
        fetcher, still = self.world.fetcher, 0
        fetches = [fetcher.track(file.blob) for file in self.files]

        def works() -> bool:
            # A blob that is opened is on its way, too, in a thread that `busy` does not count.
            return bool(list(fetcher.flights()) or fetcher.threads.busy or any(fetch.use for fetch in fetches))

        while still < 3:
            await until(lambda: not works())
            await trio.testing.wait_all_tasks_blocked(0.005)
            still = 0 if works() else still + 1


@asynccontextmanager
async def models(
    root: Path,
    *counts: int,
    in_place: Container[Digest] = (),
    settings: Settings = SMALL_SETTINGS,
    source: FakeSource | None = None,
) -> AsyncIterator[Models]:
    """A world with models of so many small files."""
    async with running(root, ALONE, settings=settings, source=source) as world:
        yield Models(world, counts, settings, in_place)


async def test_one_cold_read_brings_all_small_files_of_its_model_and_none_of_another_one(tmp_path: Path) -> None:
    async with models(tmp_path, 10, 10) as here:
        await here.read(3)
        await here.quiet()
        assert sorted(here.asked) == list(range(10)), "each is asked for once"
        for number in range(10):
            await here.read(number)
        assert len(here.asked) == 10


@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.slow)])
async def test_one_cold_read_of_thousands_of_files_brings_a_window(count: int, tmp_path: Path) -> None:
    async with models(tmp_path, count) as here:
        await here.read(7)
        await here.quiet()
        assert sorted(here.asked) == list(range(7, 8 + MOST_FILES))
        await here.read(8)
        await here.quiet()
        assert here.asked[-1] == 8 + MOST_FILES, "who reads on has the next one brought"
        assert len(here.asked) == MOST_FILES + 2


async def test_a_demand_read_goes_before_what_was_brought_before(tmp_path: Path) -> None:
    async with models(tmp_path, 60) as here, trio.open_nursery() as nursery:
        here.world.source.gate.clear()
        nursery.start_soon(here.read, 0)
        await until(lambda: len(here.asked) == 3)  # the reader's, and as many ahead as may be in flight
        await until(lambda: any(flight.endswith("read_ahead, queued") for flight in here.world.fetcher.flights()))
        nursery.start_soon(here.read, 50)
        await until(lambda: 50 in here.asked)
        # Others begin meanwhile where one was silent for seconds, as it may be on a busy machine.
        assert here.asked.index(50) < 20, "forty-nine others were wanted before it"
        here.world.source.gate.set()


async def test_what_is_here_is_not_asked_for_nor_opened(tmp_path: Path) -> None:
    async with models(tmp_path, 8) as here:
        await here.read(2)
        await until(lambda: all(file.state == "sealed" for file in here.files))
    async with models(tmp_path, 9) as here:
        await here.world.fetcher.look([file.blob for file in here.files])
        await here.read(8)
        await here.quiet()
        assert here.asked == [8]
        assert here.world.fetcher.open_blobs == 1


async def test_p4_small_files_are_sealed_when_no_more_are_on_their_way(tmp_path: Path) -> None:
    last = threading.Event()
    source = FakeSource()

    def hold(chunk: Chunk, data: bytes) -> bytes:
        if chunk.size == SIZE + 7:
            assert last.wait(HANGS)
        return data

    source.always = hold
    async with models(tmp_path, 8, source=source) as here:
        await here.read(0)
        await until(lambda: all(file.state != "absent" for file in here.files[:7]))
        await until(lambda: not here.world.fetcher.threads.busy)
        assert {file.state for file in here.files[:7]} == {"partial"}, "to be served, but not worth a sync yet"
        last.set()
        await until(lambda: all(file.state == "sealed" for file in here.files))


async def test_what_concerns_all_files_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, rooms = list[int](), list[int]()
    look_at, has_room = lookout._look_at, Quota.has_room

    def looked(sights: list[Sight]) -> None:
        looks.append(len(sights))
        look_at(sights)

    def asked_for_room(quota: Quota, size: int) -> bool:
        rooms.append(size)
        return has_room(quota, size)

    monkeypatch.setattr(lookout, "_look_at", looked)
    monkeypatch.setattr(Quota, "has_room", asked_for_room)
    async with models(tmp_path, 40) as here:
        await here.read(0)
        await here.quiet()
        assert len(here.asked) == 40
        assert 39 in looks
        assert len(rooms) == 1


async def test_a_file_that_is_read_in_place_is_not_brought(tmp_path: Path) -> None:
    in_place = {Digest.of(some_bytes(SIZE + 1, seed=1))}
    async with models(tmp_path, 4, in_place=in_place) as here:
        await here.read(0)
        await here.quiet()
        assert sorted(here.asked) == [0, 2, 3]


async def test_a_file_of_two_models_brings_only_those_of_the_one_that_is_read(tmp_path: Path) -> None:
    async with models(tmp_path, 3, 3) as here:
        fetches = [here.world.fetcher.track(file.blob) for file in here.files]
        fetches[1].siblings += fetches[4].siblings  # a license, say
        await here.read(1)
        await here.quiet()
        assert here.asked == [1], "it may be of either"
        await here.read(5)
        await here.quiet()
        assert sorted(here.asked) == [1, 3, 4, 5]


async def test_a_cache_with_little_room_has_nothing_brought(tmp_path: Path) -> None:
    async with models(tmp_path, 5, settings=replace(SMALL_SETTINGS, cache_size=MOST_AHEAD - 1)) as here:
        await here.read(0)
        await here.quiet()
        assert here.asked == [0]


@pytest.mark.logs("served from memory")
async def test_p8_a_full_disk_has_nothing_brought(tmp_path: Path) -> None:
    async with models(tmp_path, 5, settings=replace(SMALL_SETTINGS, keep_free=1 << 60)) as here:
        await here.read(0)
        await here.quiet()
        assert here.asked == [0]


async def test_a_source_in_trouble_is_not_asked_for_all_of_them(tmp_path: Path) -> None:
    source = FakeSource()
    async with models(tmp_path, 60, source=source, settings=replace(SMALL_SETTINGS, timeout=1.0)) as here:
        source.always = fail
        with pytest.raises(SourceError):
            await here.read(0)
        await here.quiet()
        assert len(set(here.asked)) <= 1 + 2 * SMALL_SETTINGS.connections, "the first failure ends it"
        source.always = None
        for number in range(60):
            await here.read(number)


@pytest.mark.parametrize("changes", [{"without": frozenset(["siblings"])}, {"readahead_max": 0}])
async def test_without_reading_ahead_nothing_is_brought(changes: dict[str, object], tmp_path: Path) -> None:
    settings = replace(SMALL_SETTINGS, **changes)  # type: ignore[arg-type]  # a table of settings
    async with models(tmp_path, 5, settings=settings) as here:
        await here.read(0)
        await here.quiet()
        assert here.asked == [0]
