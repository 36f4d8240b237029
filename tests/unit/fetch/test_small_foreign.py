"""Small blobs that are named by git's hash: proved as a whole, with no list and whatever is said of unproved bytes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fusefs.engine.models import group_small
from fusefs.errors import FusefsError
from fusefs.sources.bound import BoundSource
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import GIT_SHA1, Digest
from fusefs.values.settings import MIB
from fusefs.values.snapshot import File, Slice, Snapshot
from fusefs.vfs.blobfile import BlobFile
from tests.fake_source import FakeSource
from tests.world import NAME, SETTINGS, running, some_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fusefs.values.settings import Unproved
    from tests.world import World

DATA = {f"{number}.json": some_bytes(2500 + number, seed=number) for number in range(5)}


class Listless(FakeSource):
    """Counts who asks for a list."""

    def __init__(self) -> None:
        super().__init__()
        self.lists = 0

    def chunk_list(self, name: object, blob: Blob) -> ChunkList | None:
        """None, and counted."""
        self.lists += 1
        return None


def blob_of(data: bytes) -> Blob:
    hasher = Digest(GIT_SHA1, "0" * 40).hasher(len(data))
    hasher.update(data)
    return Blob(Digest(GIT_SHA1, hasher.hexdigest()), len(data))


@asynccontextmanager
async def files(root: Path, unproved: Unproved = "wait") -> AsyncIterator[tuple[World, Listless, list[BlobFile]]]:
    """The files of a model that git keeps; of a world whose own blob does not matter."""
    settings = replace(SETTINGS, single_chunk_limit=MIB, memory=64 * MIB, unproved=unproved)
    source = Listless()
    async with running(root, b"alone", settings=settings) as world:
        blobs = {path: blob_of(data) for path, data in DATA.items()}
        for path, blob in blobs.items():
            source.claim(blob, DATA[path])
            world.fetcher.track(blob).add_origin(BoundSource(source, NAME))
        shown = tuple(File(path, Slice.whole(blob)) for path, blob in blobs.items())
        group_small(world.fetcher, [Snapshot(NAME, Digest.of(b""), shown, tuple(blobs.values()), b"")], settings, set())
        yield world, source, [BlobFile(world.fetcher, world.fetcher.track(blob)) for blob in blobs.values()]


@pytest.mark.parametrize("unproved", ["wait", "allow", "refuse"])
async def test_p4_each_is_read_and_sealed_and_nobody_is_asked_for_a_list(tmp_path: Path, unproved: Unproved) -> None:
    async with files(tmp_path, unproved) as (world, source, shown):
        for file, data in zip(shown, DATA.values(), strict=True):
            file.open()
            assert bytes(await file.read(0, 10_000)) == data
            assert world.cache.read(blob_of(data).digest, len(data)) == data
        assert source.lists == 0


@pytest.mark.logs("does not match its digest")
@pytest.mark.parametrize("unproved", ["wait", "allow"])
async def test_p1_bytes_of_another_hash_are_never_served(tmp_path: Path, unproved: Unproved) -> None:
    """Also where bytes above 64 MiB may be served before they are proved."""
    async with files(tmp_path, unproved) as (_, source, shown):
        source.always = lambda _chunk, data: bytes(len(data))
        shown[0].open()
        with pytest.raises(FusefsError):
            await shown[0].read(0, 10)


async def test_the_first_one_that_is_read_brings_the_others(tmp_path: Path) -> None:
    async with files(tmp_path) as (world, source, shown):
        shown[0].open()
        await shown[0].read(0, 10)
        for file, data in zip(shown, DATA.values(), strict=True):
            while file.state != "sealed":
                await world.fetcher.look([blob_of(data)])
        assert len(source.asked) == len(DATA)
