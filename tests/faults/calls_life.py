"""Life: what a cache goes through, from the first open to a reboot, as one process; every read is compared.

Used to make calls fail amid it (`tests.faults.calls`), and to cut the power.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from fusefs.artifacts.manifest import DOCKER_MANIFEST
from fusefs.cache.disk import DiskCache
from fusefs.cache.documents.writer import Keeper
from fusefs.engine.resolve import resolve
from fusefs.errors import FusefsError
from fusefs.fetch.fetcher import Fetcher
from fusefs.fuse.errnos import errno_of
from fusefs.sources.bound import BoundSource
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.settings import Settings
from fusefs.values.voucher import Proof, Voucher
from fusefs.vfs.blobfile import BlobFile
from tests.fake_source import FakeSource, chunk_list
from tests.world import NAME, some_bytes, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from fusefs.artifacts.manifest import Manifest
    from fusefs.sources.base import Body
    from fusefs.values.chunks import Chunk
    from fusefs.values.names import Name


class Counting(FakeSource):
    """Knows of which blob it was asked for what.

    Attributes:
        requests: every range of every blob.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[Digest, Chunk]] = []

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> Body:  # type: ignore[override]  # any Body will do
        """See FakeSource."""
        self.requests.append((blob.digest, chunk))
        return super().open_range(name, blob, chunk)


class Goods:
    """A model of four blobs, as an honest source has it.

    Attributes:
        chunk: bytes of a chunk.
        listed: a blob with a chunk list, of nine chunks; the last is shorter.
        unlisted: a blob without one.
        small: a blob that is its own only chunk.
        evidenced: a blob whose chunks are accepted by evidence, for want of digests.
        manifest: of all four.
        settings: that make them what they are.
    """

    def __init__(self, chunk: int = 100) -> None:
        self.chunk = chunk
        self.listed = some_bytes(8 * chunk + chunk // 3, seed=11)
        self.unlisted = some_bytes(3 * chunk + chunk // 5, seed=12)
        self.small = some_bytes(chunk // 2 + 9, seed=13)
        self.evidenced = some_bytes(4 * chunk + chunk // 7, seed=15)
        layers = [
            {"mediaType": "application/octet-stream", "digest": str(Digest.of(data)), "size": len(data)}
            for data in self.blobs
        ]
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": layers}).encode()
        self.settings = Settings(
            timeout=3.0,
            stall=1.0,
            memory=1 << 20,
            single_chunk_limit=len(self.small),
            unlisted_chunk_size=chunk,
            span_size=2 * chunk,
            connections=3,
        )

    @property
    def blobs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The bytes of all four."""
        return self.listed, self.unlisted, self.small, self.evidenced

    def source(self) -> Counting:
        """A source that has all of it."""
        source = Counting()
        source.add(self.listed, chunk_list(self.listed, self.chunk))
        source.add(self.unlisted)
        source.add(self.small)
        word = Voucher(Proof.REGISTRY, source.label)
        source.add(self.evidenced, ChunkList.evidenced(len(self.evidenced), self.chunk, word))
        source.add_manifest(NAME, self.manifest)
        return source


class Life:
    """One process on a cache.

    Attributes:
        cache: its cache.
        keeper: of its manifests.
        fetcher: of its blobs.
        told: errors that were told to those who asked.
        compared: bytes that were read and right.
    """

    def __init__(self, goods: Goods, cache: DiskCache, source: FakeSource) -> None:
        self.cache = cache
        self.keeper = Keeper(cache)
        self.fetcher = Fetcher(cache, goods.settings, Counters())
        self.told: list[FusefsError] = []
        self.compared = 0
        self._goods = goods
        self._source = source
        self._files: dict[bytes, BlobFile] = {}

    async def attempt(self, work: Callable[[], Awaitable[object]]) -> bool:
        """Do it, if it can be done; False when an error of ours says that it cannot."""
        try:
            await work()
        except FusefsError as exc:
            self.told.append(exc)
            return False
        return True

    async def attempt_in_thread(self, work: Callable[[], object]) -> bool:
        """The same of what blocks."""
        return await self.attempt(partial(trio.to_thread.run_sync, work))

    def resolve(self) -> Manifest:
        """Ask for the manifest, and keep it.  Blocking."""
        return resolve(NAME, [self._source], self.cache, self.keeper)

    def file(self, data: bytes) -> BlobFile:
        """The file that shows a blob."""
        if data not in self._files:
            fetch = self.fetcher.track(Blob(Digest.of(data), len(data)))
            fetch.add_origin(BoundSource(self._source, NAME))
            self._files[data] = BlobFile(self.fetcher, fetch)
        return self._files[data]

    async def read(self, data: bytes, off: int, size: int) -> bool:
        """Read and compare; False when an error says that it cannot be had."""

        async def work() -> None:
            got = bytes(await self.file(data).read(off, size))
            wanted = data[off : off + size]
            assert got == wanted, f"wrong bytes at {off}+{size}"
            self.compared += len(got)

        return await self.attempt(work)

    async def read_chunks(self, data: bytes, order: Sequence[int] | None = None) -> bool:
        """Read a chunk at a time (the memory of a full disk may have room for no more); True when all could be had."""
        chunk = self._goods.chunk
        results = [await self.read(data, i * chunk, chunk) for i in order or range(-(-len(data) // chunk))]
        return all(results)

    @property
    def errnos(self) -> list[int]:
        """What programs that read through a mount would have been told."""
        return [errno_of(exc) for exc in self.told]

    async def quiet(self) -> None:
        """Wait until nothing is on its way any more."""
        still = 0
        while still < 2:
            busy = self.busy
            still = 0 if busy else still + 1
            await (until(lambda: not self.busy) if busy else trio.testing.wait_all_tasks_blocked(0.001))

    @property
    def busy(self) -> bool:
        """True while something is on its way."""
        fetches = self.fetcher._blobs.values()
        return any(fetch.flights for fetch in fetches) or bool(self.fetcher.threads.busy or self.fetcher.in_flight)


@asynccontextmanager
async def living(root: Path, goods: Goods, source: FakeSource, *, spill: int = 1 << 20) -> AsyncIterator[Life]:
    """A process on the cache `root`, which ends as unmount ends it.

    Raises:
        FusefsError: the cache cannot be opened.
    """
    cache = await trio.to_thread.run_sync(lambda: DiskCache.open(root, spill_capacity=spill))
    life = Life(goods, cache, source)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(life.fetcher.run)
            try:
                yield life
                await life.quiet()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(life.keeper.close)
                source.close()
                nursery.cancel_scope.cancel()
        await until(lambda: not life.fetcher.threads.busy)
    life.fetcher.close()
    assert not life.busy
