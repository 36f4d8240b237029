"""Archives among the layers: their tables are read lazily, once, and kept; nothing of them is believed unproved."""

from __future__ import annotations

import gzip
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.artifacts.manifest import Manifest
from fusefs.artifacts.snapshots import snapshot_of
from fusefs.cache.disk import DiskCache
from fusefs.engine.layers import LayerOpener
from fusefs.errors import CacheFull, DigestMismatch, InvalidManifest, SourceError
from fusefs.values.chunks import Chunk
from fusefs.values.digest import Digest
from fusefs.values.settings import KIB, MIB
from fusefs.vfs.blobfile import BlobFile
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.layout import layout_of
from fusefs.vfs.tree import Tree
from tests.artifacts import FILEPATH, PACKED, Builder, packed, tar_of
from tests.fake_source import FakeSource, chunk_list
from tests.world import NAME, running, some_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fusefs.values.names import Name
    from fusefs.values.snapshot import Snapshot
    from tests.artifacts import Artifact
    from tests.world import World

TAR = "application/vnd.cncf.model.weight.v1.tar"
CONFIG = "application/vnd.cncf.model.config.v1+json"


class Pool:
    """One source for all names."""

    def __init__(self, source: FakeSource) -> None:
        self.source = source

    def of(self, name: Name) -> list[FakeSource]:
        del name
        return [self.source]

    def list_places(self) -> list[FakeSource]:
        return []


def manifest_of(*layers: bytes) -> Manifest:
    builder = Builder((CONFIG, b"{}"))
    for layer in layers:
        builder.layer(TAR, layer)
    return Manifest.parse(builder.artifact().manifest)


@asynccontextmanager
async def opening(root: Path, data: bytes, **how: object) -> AsyncIterator[tuple[World, LayerOpener]]:
    async with running(root, data, **how) as world:  # type: ignore[arg-type]  # handed on
        yield world, LayerOpener(world.fetcher, Pool(world.source), world.cache)  # type: ignore[arg-type]


async def snapshot(opener: LayerOpener, manifest: Manifest) -> Snapshot:
    return snapshot_of(NAME, manifest, 0, await opener.contents(NAME, manifest))


SIZES = {"single_chunk_limit": 0, "memory": 64 * MIB, "spill": 64 * MIB, "span_size": 64 * MIB, "timeout": 60.0}


async def test_the_table_of_a_thousand_members_takes_at_most_twelve_requests(tmp_path: Path) -> None:
    files = {f"folder/{number:04}.bin": some_bytes(16 * KIB, number) for number in range(1000)}
    data = tar_of(files)
    async with opening(tmp_path, data, chunk_size=MIB, **SIZES) as (world, opener):
        shown = await snapshot(opener, manifest_of(data))
        assert len(shown.files) == 1000
        assert len(world.source.asked) <= 12, world.source.asked


async def test_the_table_of_large_members_takes_a_chunk_for_each_and_not_what_lies_between(tmp_path: Path) -> None:
    files = {f"{number}.bin": some_bytes(4 * MIB, number) for number in range(5)}
    data = tar_of(files)
    async with opening(tmp_path, data, chunk_size=256 * KIB, **SIZES) as (world, opener):
        await snapshot(opener, manifest_of(data))
        assert sum(chunk.size for chunk in world.source.asked) <= 13 * 256 * KIB
        assert len(world.source.asked) <= 12


@pytest.mark.logs("has no chunk list that proves it")
async def test_a_manifest_of_many_archives_is_read_once_for_their_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the event loop, and a manifest may be large and name a thousand archives."""
    read: list[bytes] = []

    def annotated(raw: bytes) -> dict[Digest, Digest]:
        read.append(raw)
        return {}

    monkeypatch.setattr("fusefs.engine.offering.annotated", annotated)
    data = tar_of({"a": b"1"})
    other = tar_of({"b": b"2"})
    manifest = manifest_of(data, other)
    async with opening(tmp_path, data) as (_, opener):
        with pytest.raises(SourceError):  # the source has the first one alone
            await opener.contents(NAME, manifest)
    assert read == [manifest.raw]


async def test_p7_a_table_that_was_read_once_needs_no_network(tmp_path: Path) -> None:
    data = tar_of({"a": b"1", "b/c": b"22"})
    manifest = manifest_of(data)
    async with opening(tmp_path, data) as (_, opener):
        before = await snapshot(opener, manifest)

    class Gone(FakeSource):
        def open_range(self, name: Name, blob: object, chunk: Chunk) -> object:  # type: ignore[override]
            raise SourceError("no network")

    cache = DiskCache.open(tmp_path)
    async with opening(tmp_path / "other", b"x", source=Gone()) as (world, _):
        again = await snapshot(LayerOpener(world.fetcher, Pool(world.source), cache), manifest)  # type: ignore[arg-type]
    assert again == before
    assert [file.path for file in again.files] == ["a", "b/c"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "another's", "a link"])
async def test_p12_a_table_that_has_changed_on_disk_is_read_anew(damage: str, tmp_path: Path) -> None:
    data, other = tar_of({"a": b"1"}), tar_of({"b": b"1"})
    async with opening(tmp_path, data) as (world, opener):
        world.source.add(other, chunk_list(other, 1000))
        before = await snapshot(opener, manifest_of(data))
        await snapshot(opener, manifest_of(other))
        path = tmp_path / "tables" / world.blob.digest.file_name
        kept = path.read_bytes()
        if damage == "cut":
            path.write_bytes(kept[:-1])
        elif damage == "flipped":
            path.write_bytes(kept[:60] + bytes([kept[60] ^ 1]) + kept[61:])
        elif damage == "another's":
            path.write_bytes((path.parent / manifest_of(other).layers[0].blob.digest.file_name).read_bytes())
        else:
            path.unlink()
            path.symlink_to("/etc/passwd")
        assert await snapshot(opener, manifest_of(data)) == before


@pytest.mark.logs("content does not match its digest")
async def test_p1_a_table_is_never_made_of_bytes_that_are_not_proved(tmp_path: Path) -> None:
    data = tar_of({"good": b"1"})
    async with opening(tmp_path, data, timeout=1.0) as (world, opener):
        world.source.always = lambda chunk, _: tar_of({"evil": b"2"})[chunk.start : chunk.stop]
        with pytest.raises(DigestMismatch):
            await opener.contents(NAME, manifest_of(data))
        assert not (tmp_path / "tables").exists()


@pytest.mark.logs("all of it .* is fetched before its files are known")
async def test_without_a_chunk_list_the_whole_archive_is_proved_first_and_that_is_said(tmp_path: Path) -> None:
    data = tar_of({"a": some_bytes(5000)})
    how = {"listed": False, "lists": "bound", "unproved": "wait"}
    async with opening(tmp_path, data, **how) as (world, opener):
        assert [file.path for file in (await snapshot(opener, manifest_of(data))).files] == ["a"]
        await world.sealed()
        assert sum(chunk.size for chunk in world.source.asked) == len(data)


@pytest.mark.parametrize(("limit", "fetched"), [(1.5, False), (10, True)], ids=["by the size", "by what comes out"])
@pytest.mark.logs("is compressed|no room")
async def test_p8_a_compressed_layer_for_which_the_cache_has_no_room_is_one_line_that_says_what_to_do(
    tmp_path: Path, limit: float, fetched: bool
) -> None:
    """Nothing of it is fetched where that is known before; and it never makes room for what comes out of it."""
    data = gzip.compress(tar_of({"text": some_bytes(20_000) * 50}))
    manifest = Manifest.parse(Builder((CONFIG, b"{}")).layer(f"{TAR}+gzip", data).artifact().manifest)
    async with opening(tmp_path, data, keep_free=1, cache_size=int(limit * len(data))) as (world, opener):
        world.source.add(b"{}")
        with pytest.raises(CacheFull) as caught:
            await opener.contents(NAME, manifest)
        assert "is compressed, so all of it and of what comes out of it must lie in the cache" in str(caught.value)
        assert "--cache-size" in str(caught.value)
        assert any(chunk.size > 2 for chunk in world.source.asked) == fetched


@pytest.mark.logs("is compressed")
async def test_why_it_takes_long_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    data = gzip.compress(tar_of({"a": some_bytes(5000)}))
    manifest = Manifest.parse(Builder((CONFIG, b"{}")).layer(f"{TAR}+gzip", data).artifact().manifest)
    async with running(tmp_path, data) as world:
        world.source.add(b"{}")
        said: list[tuple[str, int]] = []
        opener = LayerOpener(
            world.fetcher,
            Pool(world.source),  # type: ignore[arg-type]
            world.cache,
            warn=lambda text: said.append((text, sum(chunk.size > 2 for chunk in world.source.asked))),
        )
        assert [file.path for file in (await snapshot(opener, manifest)).files] == ["a"]
        ((text, asked),) = said
        assert "is compressed: all of it (" in text
        assert asked == 0


async def test_a_layer_that_is_no_archive_is_one_line(tmp_path: Path) -> None:
    data = some_bytes(5000)
    async with opening(tmp_path, data) as (_, opener):
        with pytest.raises(InvalidManifest, match=r"^test.invalid/library/model:latest: layer .*: invalid tar archive"):
            await opener.contents(NAME, manifest_of(data))


async def test_files_of_an_archive_are_read_at_their_places(tmp_path: Path) -> None:
    files = {"a": some_bytes(3000, 1), "empty": b"", "d/b": some_bytes(5000, 2)}
    data = tar_of(files)
    async with opening(tmp_path, data, chunk_size=512) as (world, opener):
        shown = await snapshot(opener, manifest_of(data))
        fetcher = world.fetcher
        system = FileSystem(
            Tree(layout_of([shown])), lambda blob: BlobFile(fetcher, fetcher.track(blob)), world.counters
        )
        for node in system.tree.files:
            content = files[node.path]
            handle = system.open(node.inode, os.O_RDONLY)
            for off, size in ((0, len(content)), (1, 700), (len(content) - 1, 100), (len(content) + 5, 9)):
                if off >= 0:
                    assert bytes(await system.read(handle, off, size)) == content[off : off + size]
            assert await system.backing(node.inode) is None, "the kernel would read from the front of the blob"
        await world.fetcher.complete(world.fetch)
        await trio.to_thread.run_sync(world.cache.get, world.blob.digest)
        for node in system.tree.files:
            assert system.metadata.presence(node) == (node.size, "sealed")
            assert await system.backing(node.inode) is None


async def test_a_kitfile_is_read_where_it_names_files(tmp_path: Path) -> None:
    layer = b"weights"
    digest = str(Digest.of(layer))
    config = json.dumps({"model": {"path": "m/a.gguf", "layerInfo": {"digest": digest}}}).encode()
    kit = "application/vnd.kitops.modelkit."
    builder = Builder((kit + "config.v1+json", config)).layer(kit + "model.v1.raw", layer)
    manifest = Manifest.parse(builder.artifact().manifest)
    async with opening(tmp_path, config) as (_, opener):
        assert [file.path for file in (await snapshot(opener, manifest)).files] == ["m/a.gguf", "Kitfile"]
    named = builder.layers[0] | {"annotations": {FILEPATH: "b.gguf"}}
    manifest = Manifest.parse(Builder((kit + "config.v1+json", config), layers=[named]).artifact().manifest)
    async with opening(tmp_path / "2", b"x") as (world, opener):
        assert [file.path for file in (await snapshot(opener, manifest)).files] == ["b.gguf", "Kitfile"]
        assert not world.source.asked


class Sources(FakeSource):
    """All blobs of an artifact."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__()
        for blob in artifact.blobs:
            self.add(blob, chunk_list(blob, 1000) if blob else None)


async def read_all(world: World, shown: Snapshot) -> dict[str, bytes]:
    fetcher = world.fetcher
    tree = Tree(layout_of([shown]))
    system = FileSystem(tree, lambda blob: BlobFile(fetcher, fetcher.track(blob)), world.counters)
    return {
        node.path: bytes(await system.read(system.open(node.inode, os.O_RDONLY), 0, node.size)) for node in tree.files
    }


@pytest.mark.logs("is compressed: all of it .* is fetched and decompressed before its files are known")
@pytest.mark.parametrize("family", PACKED)
async def test_compressed_layers_are_made_whole_once_and_shown_as_their_files(family: str, tmp_path: Path) -> None:
    artifact = PACKED[family]()
    manifest = Manifest.parse(artifact.manifest)
    async with opening(tmp_path, b"x", source=Sources(artifact), **SIZES) as (world, opener):
        shown = await snapshot(opener, manifest)
        assert await read_all(world, shown) == artifact.files
        assert shown.made
        asked = len(world.source.asked)
        assert await snapshot(opener, manifest) == shown
        assert len(world.source.asked) == asked, "what was made once is known"
        # `ls`, `pin` and `rm` count what was made.
        assert set(world.cache.tables.with_made(manifest)) == {*shown.blobs, *shown.made}


@pytest.mark.logs("is compressed")
@pytest.mark.parametrize("packed_is_here", [True, False])
async def test_a_decompressed_layer_that_was_evicted_is_made_again(packed_is_here: bool, tmp_path: Path) -> None:
    artifact = PACKED["gzip"]()
    manifest = Manifest.parse(artifact.manifest)
    async with opening(tmp_path, b"x", source=Sources(artifact), **SIZES) as (_, opener):
        (made,) = (await snapshot(opener, manifest)).made
    (tmp_path / "blobs" / made.digest.file_name).unlink()
    if not packed_is_here:
        (tmp_path / "blobs" / manifest.layers[0].blob.digest.file_name).unlink()
    async with opening(tmp_path, b"x", source=Sources(artifact), **SIZES) as (world, opener):
        shown = await snapshot(opener, manifest)
        assert await read_all(world, shown) == artifact.files
        asked = [chunk for chunk in world.source.asked if chunk.size > 1]
        assert bool(asked) != packed_is_here


@pytest.mark.logs("is compressed")
async def test_p1_a_layer_that_is_not_what_its_config_says_is_refused(tmp_path: Path) -> None:
    artifact = packed(lambda data: gzip.compress(data + b"x"), "gzip")
    async with opening(tmp_path, b"x", source=Sources(artifact), **SIZES) as (_, opener):
        with pytest.raises(InvalidManifest, match="decompressed layer: content does not match its digest"):
            await opener.contents(NAME, Manifest.parse(artifact.manifest))
        assert not (tmp_path / "tables").exists()


@pytest.mark.logs("is compressed")
async def test_p10_a_damaged_compressed_layer_is_one_line_and_nothing_is_kept(tmp_path: Path) -> None:
    artifact = packed(lambda data: gzip.compress(data)[:-9], "gzip")
    async with opening(tmp_path, b"x", source=Sources(artifact), **SIZES) as (_, opener):
        with pytest.raises(InvalidManifest, match=r"layer .*: a compressed layer that is cut off"):
            await opener.contents(NAME, Manifest.parse(artifact.manifest))
        assert not list((tmp_path / "partial").glob("tmp*"))


async def test_p10_no_more_archives_are_looked_into_than_any_model_has(tmp_path: Path) -> None:
    async with opening(tmp_path, b"x") as (world, opener):
        manifest = manifest_of(*[b"%d" % number for number in range(1025)])
        with pytest.raises(InvalidManifest, match="1025 archives and compressed layers, at most 1024"):
            await opener.contents(NAME, manifest)
        assert not world.source.asked
