"""Wired: a cache and a running fetcher over the real HTTP client, for tests of what servers do, without a kernel."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from fusefs.cache.disk import DiskCache
from fusefs.errors import FusefsError
from fusefs.fetch.fetcher import Fetcher
from fusefs.sources.base import Learner
from fusefs.sources.bound import BoundSource
from fusefs.sources.order import open_sources
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.settings import Settings
from fusefs.vfs.blobfile import BlobFile
from tests.patience import HANGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.values.chunks import Blob
    from fusefs.values.names import Name

SETTINGS = Settings(
    timeout=30.0,
    stall=0.15,
    memory=1 << 20,
    single_chunk_limit=0,
    unlisted_chunk_size=1000,
    span_size=2000,
    connections=4,
)
"""A stall is short, for a table of faults; nobody runs into `timeout`, however busy the machine is."""

SHORT = 0.4
"""Seconds of `timeout` where a read has to fail; what comes in spite of it is read with `read_in_the_end`."""


class Wired:
    """One process' view of one blob, and what a read of it gives.

    Attributes:
        file: the file that shows the blob.
        fetch: what the fetcher knows of it.
        fetcher: which runs.
        counters: what happened.
    """

    def __init__(self, fetcher: Fetcher, fetch: BlobFetch, file: BlobFile, data: bytes) -> None:
        self.fetcher = fetcher
        self.counters = fetcher.counters
        self.fetch = fetch
        self.file = file
        self._data = data

    async def read(self, off: int = 0, size: int | None = None) -> None:
        """Read, and compare with the right bytes."""
        size = len(self._data) if size is None else size
        assert bytes(await self.file.read(off, size)) == self._data[off : off + size]

    async def read_in_the_end(self) -> None:
        """The same of all of it, again and again while it fails: a short `timeout` is soon over on a busy machine."""
        while True:
            try:
                return await self.read()
            except FusefsError:
                await trio.sleep(0.01)


@asynccontextmanager
async def wired(
    root: Path, name: Name, blob: Blob, data: bytes, document: bytes = b"", /, **changes: object
) -> AsyncIterator[Wired]:
    """Run a fetcher over the cache `root` with one blob of the model `name`; ends as unmount ends.

    The sources learn the `document` of the model, if there is one.
    """
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]  # a test names a setting wrongly: it says so
    fetcher = Fetcher(DiskCache.open(root), settings, Counters())
    sources = open_sources(name, stores=(), settings=settings, counters=fetcher.counters)
    fetch = fetcher.track(blob)
    for source in sources:
        if document and isinstance(source, Learner):
            source.learn(name, Digest.of(document), document)
        fetch.add_origin(BoundSource(source, name))
    with trio.fail_after(2 * HANGS):
        async with trio.open_nursery() as nursery:
            await nursery.start(fetcher.run)
            try:
                yield Wired(fetcher, fetch, BlobFile(fetcher, fetch), data)
            finally:
                for source in sources:
                    source.close()
                nursery.cancel_scope.cancel()
    fetcher.close()
