"""Opening: looks into the layers of models whose manifests do not name their files: archives, and a Kitfile.

It happens when a model is resolved, for `ls` needs the names.  What was found is kept in the cache by the digest of the
layer, so that the next mount asks nobody.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from fusefs.artifacts.contents import Contents, Opened
from fusefs.artifacts.snapshots import wants_config
from fusefs.engine.offering import offer_blobs
from fusefs.errors import FusefsError, InvalidManifest, InvalidTar
from fusefs.fetch.blobreader import BlobReader
from fusefs.formats.tar import read_table

if TYPE_CHECKING:
    from fusefs.artifacts.manifest import Layer, Manifest
    from fusefs.cache.disk import DiskCache
    from fusefs.engine.pool import SourcePool
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.lock import Lock
    from fusefs.values.names import Name

log = logging.getLogger(__name__)

_AT_ONCE = 4
"""Archives whose tables are read at once."""


class LayerOpener:
    """Of one engine, whose fetcher must be running.

    Args:
        fetcher: has the bytes fetched and proved.
        pool: where they can be had.
        cache: keeps what was found.
        lock: what the models must be made of.
    """

    def __init__(self, fetcher: Fetcher, pool: SourcePool, cache: DiskCache, lock: Lock | None = None) -> None:
        self._fetcher = fetcher
        self._pool = pool
        self._cache = cache
        self._lock = lock
        self._turn = trio.CapacityLimiter(_AT_ONCE)

    async def contents(self, name: Name, manifest: Manifest) -> Contents:
        """What is in the layers of a model, as far as it has to be looked for.

        Raises:
            InvalidManifest: a layer is no archive, although the manifest calls it one.
            FusefsError: its bytes cannot be had.
        """
        archives = {layer.blob.digest: layer for layer in manifest.layers if layer.is_tar and not layer.packing}
        found: dict[Digest, Opened] = {}
        errors: list[FusefsError] = []
        async with trio.open_nursery() as nursery:

            async def one(layer: Layer) -> None:
                try:
                    async with self._turn:
                        found[layer.blob.digest] = await self._opened(name, manifest, layer)
                except FusefsError as exc:
                    errors.append(exc)
                    nursery.cancel_scope.cancel()

            for layer in archives.values():
                nursery.start_soon(one, layer)
        if errors:
            raise errors[0]
        config = b""
        if wants_config(manifest) and manifest.config is not None:
            config = await self._whole(name, manifest, manifest.config.blob)
        return Contents(found, config)

    async def _opened(self, name: Name, manifest: Manifest, layer: Layer) -> Opened:
        kept = await trio.to_thread.run_sync(self._cache.tables.read, layer.blob)
        if kept is not None and kept.table is not None:
            return kept
        fetch = await self._found(name, manifest, layer.blob)
        reader = BlobReader(self._fetcher, fetch)

        def read() -> Opened:
            opened = Opened(layer.blob, read_table(reader.read_at, layer.blob.size))
            self._cache.tables.write(layer.blob, opened)
            return opened

        with suppress(FusefsError):  # trouble is told by the read
            await self._fetcher.foresee(fetch)
        if fetch.whole_first:
            log.warning(
                "%s: no chunk list proves the archive %s: all of it (%d bytes) is fetched before its files are known",
                name.short,
                layer.blob.digest.short,
                layer.blob.size,
            )
        try:
            opened = await trio.to_thread.run_sync(read)
        except InvalidTar as exc:
            raise InvalidManifest(f"{name.short}: layer {layer.blob.digest.short}: {exc}") from exc
        if opened.table is not None and opened.table.left_out:
            left_out = ", ".join(f"{what} ({count})" for what, count in opened.table.left_out)
            log.info("%s: left out of archive %s: %s", name.short, layer.blob.digest.short, left_out)
        return opened

    async def _whole(self, name: Name, manifest: Manifest, blob: Blob) -> bytes:
        """All of a small blob."""
        reader = BlobReader(self._fetcher, await self._found(name, manifest, blob))
        return await trio.to_thread.run_sync(reader.read_at, 0, blob.size)

    async def _found(self, name: Name, manifest: Manifest, blob: Blob) -> BlobFetch:
        offer_blobs(self._fetcher, self._pool, name, (manifest.digest, manifest.raw), [blob], self._lock)
        await self._fetcher.look([blob])
        return self._fetcher.track(blob)
