"""World: a cache directory, a fake source and a running fetcher, for tests of floors 2 to 4 without a kernel."""

from __future__ import annotations

import contextlib
import os
import random
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import trio
import trio.testing

from fusefs.cache.disk import DiskCache
from fusefs.cache.space.quota import Limits
from fusefs.fetch.fetcher import Fetcher
from fusefs.sources.bound import BoundSource
from fusefs.values.counters import Counters
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from fusefs.vfs.blobfile import BlobFile
from tests.fake_source import FakeSource, chunk_list

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fusefs.values.chunks import Blob, ChunkList

NAME = Name.parse("http://test.invalid/library/model:latest")

SETTINGS = Settings(
    timeout=5.0,
    stall=1.0,
    memory=1 << 20,
    single_chunk_limit=0,
    unlisted_chunk_size=1000,
    span_size=4000,
    connections=4,
)
"""Small enough that a few kilobytes have many chunks and spans."""


def some_bytes(size: int, seed: int = 1) -> bytes:
    """`size` bytes that do not repeat."""
    return random.Random(seed).randbytes(size)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in a thread, and that nobody announces."""
    while not condition():  # noqa: ASYNC110  # the thread knows nothing of trio
        await trio.sleep(0.001)


async def quiet(world: World) -> None:
    """Wait until nothing is on its way, and nobody looks at a header or writes a record."""
    still = 0
    while still < 2:
        await until(lambda: not world.fetch.flights and not world.fetcher.threads.busy)
        # A thread that has just ended may have a task go on, which may want more.
        await trio.testing.wait_all_tasks_blocked(0.005)
        still = 0 if world.fetch.flights or world.fetcher.threads.busy else still + 1


class World:
    """One process' view of a cache.

    Attributes:
        source: the one that the blobs come from.
        data: the blob's right bytes.
        blob: its digest and size.
        file: the file that shows it.
    """

    def __init__(
        self, root: Path, fetcher: Fetcher, cache: DiskCache, source: FakeSource, data: bytes, blob: Blob
    ) -> None:
        self.root = root
        self.fetcher = fetcher
        self.cache = cache
        self.source = source
        self.data = data
        self.blob = blob
        self.fetch = fetcher.track(blob)
        self.fetch.add_origin(BoundSource(source, NAME))
        self.file = BlobFile(fetcher, self.fetch)
        self.counters = fetcher.counters

    async def read(self, off: int, size: int) -> None:
        """Read, and compare with the right bytes."""
        got = await self.file.read(off, size)
        assert bytes(got) == self.data[off : off + size], f"wrong bytes at {off}+{size}"

    async def sealed(self) -> None:
        """Wait until the blob has its final name, and until it is said to be sealed to who asks."""
        name = f"blobs/{self.blob.digest.file_name}"

        def is_there() -> bool:  # from the folder that is held: its path may lead elsewhere by now
            with contextlib.suppress(FileNotFoundError):
                return bool(os.stat(name, dir_fd=self.cache.held.fd))
            return False

        while not (is_there() and self.file.state == "sealed"):
            await trio.sleep(0.001)
            # Nobody announces that another process has sealed it: who asks has to look, as `stat` and status do.
            await self.fetcher.look([self.blob])


@asynccontextmanager
async def running(
    root: Path,
    data: bytes,
    *,
    chunk_size: int = 1000,
    source: FakeSource | None = None,
    chunks: ChunkList | None = None,
    listed: bool = True,
    settings: Settings = SETTINGS,
    spill: int = 1 << 20,
    cache: DiskCache | None = None,
    **changes: object,
) -> AsyncIterator[World]:
    """A running fetcher over the cache `root`, with one blob; ends as unmount ends."""
    settings = replace(settings, **changes)  # type: ignore[arg-type]  # a test names a setting wrongly: it says so
    limits = Limits(settings.cache_size, settings.keep_free)
    if cache is None:
        cache = await trio.to_thread.run_sync(lambda: DiskCache.open(root, spill_capacity=spill, limits=limits))
    source = source or FakeSource()
    blob = source.add(data, (chunks or chunk_list(data, chunk_size)) if listed else None)
    fetcher = Fetcher(cache, settings, Counters())
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(fetcher.run)
            await fetcher.look([blob])  # or nothing were known of what lies there
            try:
                yield World(root, fetcher, cache, source, data, blob)
            finally:
                source.gate.set()
                nursery.cancel_scope.cancel()
    fetcher.close()
