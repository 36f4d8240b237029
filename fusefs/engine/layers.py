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
from fusefs.artifacts.diffids import diff_ids
from fusefs.artifacts.snapshots import wants_config
from fusefs.engine.demands import NO_DEMANDS
from fusefs.engine.offering import offer_blobs
from fusefs.engine.unpacking import PackedLayer, UnpackedSource
from fusefs.errors import CacheFull, DigestMismatch, FusefsError, InvalidManifest, InvalidPacking, InvalidTar
from fusefs.fetch.blobreader import BlobReader
from fusefs.formats.tar import read_table
from fusefs.sources.bound import BoundSource
from fusefs.values.sizes import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fusefs.artifacts.manifest import Layer, Manifest
    from fusefs.cache.disk import DiskCache
    from fusefs.engine.demands import Demands
    from fusefs.engine.pool import SourcePool
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name

log = logging.getLogger(__name__)

MAX_ARCHIVES = 1024
"""Of one model; images have at most 127 layers."""

_AT_ONCE = 4
"""Archives whose tables are read at once."""


class LayerOpener:
    """Of one engine, whose fetcher must be running.

    Args:
        fetcher: has the bytes fetched and proved.
        pool: where they can be had.
        cache: keeps what was found.
        demands: what the person wants of the models.
        warn: told at once why it takes long.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        pool: SourcePool,
        cache: DiskCache,
        demands: Demands = NO_DEMANDS,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._fetcher = fetcher
        self._pool = pool
        self._cache = cache
        self._demands = demands
        self._warn = warn
        self._turn = trio.CapacityLimiter(_AT_ONCE)

    async def contents(self, name: Name, manifest: Manifest) -> Contents:
        """What is in the layers of a model, as far as it has to be looked for.

        Raises:
            InvalidManifest: a layer is not what the manifest calls it, or is damaged.
            NotSigned: its files could not be compared with what was signed.
            FusefsError: its bytes cannot be had.
        """
        wanted = {layer.blob.digest: layer for layer in manifest.layers if layer.is_tar or layer.packing}
        if len(wanted) > MAX_ARCHIVES:
            why = f"{len(wanted)} archives and compressed layers, at most {MAX_ARCHIVES} are looked into"
            raise InvalidManifest(f"{name.short}: invalid manifest: {why}")
        self._demands.check_layers(name.short, archives=any(layer.is_tar for layer in wanted.values()))
        config_blob = manifest.config.blob if wants_config(manifest) and manifest.config is not None else None
        # All at once: of each by itself the manifest would be read as often as it names archives.
        blobs = [*(layer.blob for layer in wanted.values()), *([config_blob] if config_blob else [])]
        offer_blobs(self._fetcher, self._pool, name, (manifest.digest, manifest.raw), blobs, self._demands)
        config = await self._whole(config_blob) if config_blob else b""
        ids = diff_ids(manifest, config) if config or wanted else {}
        found: dict[Digest, Opened] = {}
        errors: list[FusefsError] = []
        async with trio.open_nursery() as nursery:

            async def one(layer: Layer) -> None:
                try:
                    async with self._turn:
                        found[layer.blob.digest] = await self._opened(name, layer, ids)
                except FusefsError as exc:
                    errors.append(exc)
                    nursery.cancel_scope.cancel()

            for layer in wanted.values():
                nursery.start_soon(one, layer)
        if errors:
            raise errors[0]
        return Contents(found, config)

    async def _opened(self, name: Name, layer: Layer, ids: Mapping[Digest, Digest]) -> Opened:
        kept = await trio.to_thread.run_sync(self._cache.tables.read, layer.blob)
        if kept is not None and (kept.table is not None) == layer.is_tar:
            if layer.packing:
                self._offer(name, layer, kept.blob)
            return kept
        fetch = await self._found(layer.blob)
        blob = layer.blob
        try:
            if layer.packing:
                blob = await self._unpacked(name, layer, fetch, ids.get(layer.blob.digest))
                fetch = self._offer(name, layer, blob)
                await self._fetcher.look([blob])
            else:
                with suppress(FusefsError):  # trouble is told by the read
                    await self._fetcher.foresee(fetch)
                if fetch.whole_first:
                    self._say(name, blob, "has no chunk list that proves it", "fetched")
            reader = BlobReader(self._fetcher, fetch)
            return await trio.to_thread.run_sync(self._read, layer, blob, reader)
        except (InvalidTar, InvalidPacking) as exc:
            raise InvalidManifest(f"{name.short}: layer {layer.blob.digest.short}: {exc}") from exc

    def _read(self, layer: Layer, blob: Blob, reader: BlobReader) -> Opened:
        table = read_table(reader.read_at, blob.size) if layer.is_tar else None
        opened = Opened(blob, table)
        self._cache.tables.write(layer.blob, opened)
        if table is not None and table.left_out:
            left_out = ", ".join(f"{what} ({count})" for what, count in table.left_out)
            log.info("Left out of archive %s: %s", layer.blob.digest.short, left_out)
        return opened

    async def _unpacked(self, name: Name, layer: Layer, fetch: BlobFetch, wanted: Digest | None) -> Blob:
        """What a compressed layer is decompressed, as a blob in the cache.

        Raises:
            CacheFull: both cannot lie in the cache together.
        """
        packed, size = self._packed(name, layer), layer.blob.size
        try:
            await trio.to_thread.run_sync(self._check_room, size)
            self._say(name, layer.blob, "is compressed", "fetched and decompressed")
            with fetch.wanted_whole():  # it must not make room for what comes out of it
                await self._fetcher.complete(fetch)
                return await self._made(packed, wanted)
        except CacheFull as exc:
            what = f"{name.short}: layer {layer.blob.digest.short} ({size_text(size)}) is compressed"
            raise CacheFull(
                f"{what}, so all of it and of what comes out of it must lie in the cache: {exc}; choose a larger disk "
                "(--cache-dir) or limit (--cache-size), or have it pushed uncompressed, which is read lazily"
            ) from exc

    def _check_room(self, size: int) -> None:
        """Say now what would otherwise turn out after gigabytes: what comes out is hardly ever smaller.

        Raises:
            CacheFull: a layer of so many bytes and that cannot lie here together.
        """
        most = self._cache.quota.most()
        if 2 * size > most:
            raise CacheFull(f"at most {size_text(most)} can lie in {self._cache.root}")

    async def _made(self, packed: PackedLayer, wanted: Digest | None) -> Blob:
        try:
            return await self._fetcher.threads.run_long(lambda: self._cache.import_pieces(packed.pieces(), wanted))
        except DigestMismatch as exc:
            raise InvalidPacking(f"it is not what the model's config says: {exc}") from exc

    def _say(self, name: Name, blob: Blob, why: str, what: str) -> None:
        """Why it takes long, to who waits and to the log."""
        size = size_text(blob.size)
        text = f"{name.short}: layer {blob.digest.short} {why}: all of it ({size}) is {what} before its files are known"
        log.warning("%s", text)
        self._warn(text)

    def _offer(self, name: Name, layer: Layer, blob: Blob) -> BlobFetch:
        """Tell the fetcher how a decompressed layer is made again when the cache has lost it."""
        fetch = self._fetcher.track(blob)
        if not fetch.origins:
            fetch.add_origin(BoundSource(UnpackedSource(self._packed(name, layer)), name))
        return fetch

    def _packed(self, name: Name, layer: Layer) -> PackedLayer:
        return PackedLayer(layer, self._cache, [BoundSource(source, name) for source in self._pool.of(name)])

    async def _whole(self, blob: Blob) -> bytes:
        """All of a small blob."""
        reader = BlobReader(self._fetcher, await self._found(blob))
        return await trio.to_thread.run_sync(reader.read_at, 0, blob.size)

    async def _found(self, blob: Blob) -> BlobFetch:
        await self._fetcher.look([blob])
        return self._fetcher.track(blob)
