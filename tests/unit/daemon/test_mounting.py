"""What a mount asks of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.cache.blob.sealing import seal
from fusefs.daemon.mounting import looker
from fusefs.engine.engine import Engine
from fusefs.engine.options import MountOptions
from fusefs.values.settings import MIB, Settings
from tests.chunkers import blob_of, fill, opened

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_cache_is_not_asked_for_blobs_that_are_read_in_place(tmp_path: Path) -> None:
    """Each look was two system calls and a state kept for the life of the mount, for nothing that anybody is told."""
    here, cached = b"a file of this machine", b"a blob of a registry"
    for data in (here, cached):
        with opened(tmp_path / "cache", data) as chunker:
            fill(chunker, data)
            assert seal(chunker)
    options = MountOptions((), tmp_path / "mnt", tmp_path / "cache", (), Settings(memory=2 * MIB))
    async with Engine.running(options) as engine:
        await looker(engine.fetcher, {blob_of(here).digest})([blob_of(here), blob_of(cached)])
        sights = [engine.fetcher.track(blob_of(data)).sight for data in (here, cached)]
        assert [sight.sealed for sight in sights] == [False, True], "what nobody has looked at is not known"
