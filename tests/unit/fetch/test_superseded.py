"""What another process has put in the place of a list, or of the files, that this one has open is used by it, too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.mapfile import ABSENT
from fusefs.cache.blob.sealing import unseal
from fusefs.errors import SourceError
from tests.chunkers import place_of
from tests.fake_source import FakeSource, fail
from tests.unit.cache.blob.test_slots import CHUNK, DATA, EVIDENCED, UNLISTED
from tests.world import SETTINGS, quiet, running

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.chunks import ChunkList
    from tests.world import World


async def rot_found_by(world: World, index: int) -> None:
    """A process to which the blob is sealed finds that a chunk has rotten, as `verify` does."""
    chunker = world.fetch.chunker
    assert chunker is not None
    assert chunker.sealed
    unseal(chunker)
    chunker.mark(index, ABSENT)


@pytest.mark.logs("it will be repaired")
@pytest.mark.parametrize("way", ["a read", "a fill"])
@pytest.mark.parametrize("chunks", [EVIDENCED, UNLISTED], ids=["evidenced", "unlisted"])
async def test_p9_a_list_that_another_process_has_bound_is_taken_over(
    tmp_path: Path, chunks: ChunkList, way: str
) -> None:
    """The own one does not know the digests that the marks stand for, and fills no chunk any more."""
    settings = replace(SETTINGS, unproved="allow", readahead_max=0, unlisted_chunk_size=CHUNK)
    listed = chunks is EVIDENCED
    async with (
        running(tmp_path, DATA, chunks=chunks, listed=listed, settings=settings) as one,
        running(tmp_path, DATA, chunks=chunks, listed=listed, settings=settings) as two,
    ):
        await one.read(0, 10)
        await quiet(one)
        await two.fetcher.complete(two.fetch)
        await rot_found_by(two, 3)
        if way == "a fill":
            await one.fetcher.complete(one.fetch)
        await one.read(0, len(DATA))
        assert one.fetch.chunker is not None
        assert one.fetch.chunker.chunks.complete
        await one.sealed()
        assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


@pytest.mark.logs("no bytes")
@pytest.mark.parametrize("other", ["complete", "begun"])
async def test_p9_files_that_another_process_has_put_in_the_place_of_what_comes_as_a_whole_are_taken_over(
    tmp_path: Path, other: str
) -> None:
    """It came with a chunk list, by which what lay there could not go on; what is fetched here lies nowhere."""
    source = FakeSource()
    async with (
        running(tmp_path, DATA, source=source, listed=False, timeout=0.2, unlisted_chunk_size=3 * CHUNK) as one,
        running(tmp_path, DATA, chunk_size=CHUNK, readahead_max=0) as two,
    ):
        source.always = fail
        with pytest.raises(SourceError):
            await one.read(0, 10)
        source.always = None
        await two.read(0, len(DATA) if other == "complete" else 10)
        await quiet(two)
        await one.read(0, len(DATA))
        await one.sealed()
        await two.read(0, len(DATA))
