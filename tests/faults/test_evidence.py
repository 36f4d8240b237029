"""Evidence instead of a chunk list: read through a mount, restarted, shared, lied to, rotten; every byte compared."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from fusefs.cache.blob.mapfile import ABSENT
from fusefs.cache.blob.slotfile import SLOT
from fusefs.cache.disk import DiskCache
from fusefs.cache.place import Place
from fusefs.errors import BlobQuarantined, DigestMismatch, FusefsError, NoEvidence
from fusefs.fetch.fetcher import Fetcher
from fusefs.sources.bound import BoundSource
from fusefs.sources.registry.registry import RegistrySource
from fusefs.sources.retry import Retrying
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.snapshot import File, Slice
from fusefs.values.voucher import Proof, Voucher
from fusefs.vfs.blobfile import BlobFile
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.tree import Tree
from tests.chunkers import corrupt, reboot
from tests.fake_source import FakeSource, flip
from tests.faults.proof_server import MerkleSource, ProofServer
from tests.merkle import MerkleEvidence, MerkleTree
from tests.mounts import start
from tests.world import NAME, SETTINGS, World, running, some_bytes, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from fusefs.values.names import Name
    from tests.mounts import Mount

CHUNK = 4096
DATA = some_bytes(10 * CHUNK + 7)
OTHER = some_bytes(len(DATA), seed=2)
WORD = Voucher(Proof.REGISTRY, "fake")
EVIDENCED = ChunkList.evidenced(len(DATA), CHUNK, WORD)


@pytest.fixture
def server() -> Iterator[ProofServer]:
    with ProofServer(DATA, OTHER, CHUNK) as running_server:
        yield running_server


@asynccontextmanager
async def fetching(root: Path, name: Name, blob: Blob, proofs: tuple[int, bytes]) -> AsyncIterator[Fetcher]:
    """A process' fetcher, whose one source is a registry with Merkle proofs at (port, root)."""
    settings = replace(SETTINGS, timeout=3.0, memory=64 << 20)
    fetcher = Fetcher(await trio.to_thread.run_sync(DiskCache.open, root), settings, Counters())
    registry = RegistrySource(name.scheme, name.host, settings)
    proved = MerkleSource(registry, proofs[0], blob, proofs[1], CHUNK, Voucher(Proof.REGISTRY, name.host))
    retrying = Retrying(proved, timeout=settings.timeout, counters=fetcher.counters)
    fetcher.track(blob).add_origin(BoundSource(retrying, name))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(fetcher.run)
            try:
                yield fetcher
            finally:
                retrying.close()
                nursery.cancel_scope.cancel()
    fetcher.close()


@asynccontextmanager
async def mounted(root: Path, server: ProofServer) -> AsyncIterator[tuple[Mount, Fetcher]]:
    """The same, mounted by the kernel with one file `x`."""
    async with fetching(root / "cache", server.model.name, server.blob, (server.port, server.root)) as fetcher:
        tree = Tree([File("x", Slice.whole(server.blob), 0)])
        files = FileSystem(
            tree, lambda blob: BlobFile(fetcher, fetcher.track(blob)), fetcher.counters, look=fetcher.look
        )
        async with trio.open_nursery() as nursery:
            yield await start(nursery, files, root / "mnt"), fetcher
            nursery.cancel_scope.cancel()


def read_at(path: Path, off: int, size: int) -> bytes:
    """By a descriptor of its own, past Python's buffer and the kernel's read-ahead."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        return os.pread(fd, size, off)
    finally:
        os.close(fd)


async def test_p1_a_mounted_file_is_read_by_evidence_alone_and_its_list_is_bound_in_the_end(
    tmp_path: Path, server: ProofServer
) -> None:
    async with mounted(tmp_path, server) as (mount, fetcher):
        got = await mount.run(read_at, mount.path / "x", 5 * CHUNK + 11, 100)
        assert got == DATA[5 * CHUNK + 11 :][:100]
        assert 5 in server.asked
        fetch = fetcher.track(server.blob)
        assert fetch.chunker is not None
        assert fetch.chunker.listed
        assert fetch.state == "partial"
        assert await mount.read("x") == DATA
        await until(lambda: fetch.state == "sealed")
        assert fetch.proof == "bound"
    assert sorted(server.asked) == list(range(11)), "each is proved once"
    server.registry.refuse()
    async with mounted(tmp_path, server) as (mount, _):
        assert await mount.read("x") == DATA
    assert len(server.asked) == 11


async def test_p5_after_a_boot_what_was_accepted_needs_neither_bytes_nor_proofs(
    tmp_path: Path, server: ProofServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, proofs = server.model.name, (server.port, server.root)
    async with fetching(tmp_path, name, server.blob, proofs) as fetcher:
        file = BlobFile(fetcher, fetcher.track(server.blob))
        for index in (7, 2, 3):
            assert bytes(await file.read(index * CHUNK, CHUNK)) == DATA[index * CHUNK :][:CHUNK]
    place = Place(tmp_path, server.blob.digest)
    corrupt(place.data, 2 * CHUNK + 5)
    corrupt(place.chunks, place.chunks.stat().st_size - SLOT * 11 + SLOT * 3)
    reboot(monkeypatch)
    before, asked = len(server.registry.asked(server.blob.digest)), len(server.asked)
    async with fetching(tmp_path, name, server.blob, proofs) as fetcher:
        file = BlobFile(fetcher, fetcher.track(server.blob))
        assert bytes(await file.read(7 * CHUNK, CHUNK)) == DATA[7 * CHUNK : 8 * CHUNK]
        assert len(server.registry.asked(server.blob.digest)) == before
        assert len(server.asked) == asked
        for index in (2, 3):  # rotten bytes, and a rotten slot
            assert bytes(await file.read(index * CHUNK, CHUNK)) == DATA[index * CHUNK :][:CHUNK]
        assert {2, 3} <= {start // CHUNK for start, _ in server.registry.asked(server.blob.digest)[before:]}
        assert bytes(await file.read(0, len(DATA))) == DATA


@pytest.mark.slow
async def test_p9_another_process_reads_what_this_one_has_accepted(tmp_path: Path, server: ProofServer) -> None:
    name, proofs = server.model.name, (server.port, server.root)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    async with fetching(tmp_path, name, server.blob, proofs) as fetcher:
        assert bytes(await BlobFile(fetcher, fetcher.track(server.blob)).read(0, 3 * CHUNK)) == DATA[: 3 * CHUNK]
        process = context.Process(target=_other, args=(theirs, tmp_path, name, server.blob, proofs), daemon=True)
        process.start()
        try:
            assert await trio.to_thread.run_sync(ours.poll, 60)
            front, rest = ours.recv()
            assert front == (DATA[: 3 * CHUNK], 0), "it fetches none of it"
            assert rest == DATA[3 * CHUNK : 5 * CHUNK]
        finally:
            process.kill()
            process.join(10)
        server.registry.refuse()
        assert bytes(await BlobFile(fetcher, fetcher.track(server.blob)).read(0, 5 * CHUNK)) == DATA[: 5 * CHUNK]
        assert sorted(set(server.asked)) == sorted(server.asked), "nobody proves what another one has"


def _other(pipe: Connection, root: Path, name: Name, blob: Blob, proofs: tuple[int, bytes]) -> None:
    async def main() -> None:
        async with fetching(root, name, blob, proofs) as fetcher:
            file = BlobFile(fetcher, fetcher.track(blob))
            front = bytes(await file.read(0, 3 * CHUNK))
            fetched = fetcher.counters.snapshot()["bytes_fetched"]
            pipe.send(((front, fetched), bytes(await file.read(3 * CHUNK, 2 * CHUNK))))
            await trio.sleep_forever()

    trio.run(main)


@pytest.mark.logs("Merkle proof|A read failed|no proof")
@pytest.mark.parametrize("fault", ["forged", "mute"])
async def test_p1_p6_proofs_that_are_wrong_or_missing_are_an_error_of_the_read_in_time_and_forgotten_with_it(
    tmp_path: Path, server: ProofServer, fault: str
) -> None:
    async with mounted(tmp_path, server) as (mount, _):
        setattr(server, fault, True)
        with pytest.raises(OSError, match=r".") as caught:
            await mount.run(read_at, mount.path / "x", 0, 100)
        assert caught.value.errno == errno.EIO
        setattr(server, fault, False)
        assert await mount.read("x") == DATA


# Several sources


@asynccontextmanager
async def between(
    root: Path, mirror: FakeSource, registry: FakeSource, **changes: object
) -> AsyncIterator[tuple[Fetcher, BlobFile]]:
    """A mirror that is asked first, and the registry, whose word the evidence is."""
    settings = replace(SETTINGS, timeout=3.0, unlisted_chunk_size=CHUNK, memory=64 << 20, **changes)  # type: ignore[arg-type]
    fetcher = Fetcher(await trio.to_thread.run_sync(DiskCache.open, root), settings, Counters())
    fetch = fetcher.track(registry.add(DATA))
    for source, proof in ((mirror, Proof.NONE), (registry, Proof.REGISTRY)):
        retrying = Retrying(source, timeout=3.0, counters=fetcher.counters, several=True, proof=proof)
        fetch.add_origin(BoundSource(retrying, NAME))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(fetcher.run)
            try:
                yield fetcher, BlobFile(fetcher, fetch)
            finally:
                nursery.cancel_scope.cancel()
    fetcher.close()


def sources(mirrored: bytes) -> tuple[FakeSource, FakeSource]:
    """A mirror that has `mirrored` under the blob's digest and proves nothing, and an honest registry."""
    mirror, registry = FakeSource("mirror"), FakeSource("fake")
    blob = registry.add(DATA, EVIDENCED)
    mirror.claim(blob, mirrored)
    return mirror, registry


async def test_p1_a_mirror_that_proves_nothing_is_passed_over_until_the_digest_is_known(tmp_path: Path) -> None:
    mirror, registry = sources(DATA)
    async with between(tmp_path, mirror, registry) as (fetcher, file):
        assert bytes(await file.read(0, CHUNK)) == DATA[:CHUNK]
        assert len(registry.asked) >= 1
        chunker = file._fetch.chunker
        assert chunker is not None
        chunker.mark(0, ABSENT)
        chunker.memory.forget(chunker)
        before = len(registry.asked)
        assert bytes(await file.read(0, CHUNK)) == DATA[:CHUNK]
        assert len(registry.asked) == before, "the slot says whether the mirror is right"
        assert fetcher.counters.snapshot()["chunks_rejected"] == 0


@pytest.mark.logs("by its Merkle proof|wrong bytes twice")
async def test_p1_who_gives_other_bytes_and_proofs_of_them_is_passed_over(tmp_path: Path) -> None:
    """A mirror may carry the registry's evidence, but not make its own."""
    mirror, registry = sources(OTHER)
    tree, honest = MerkleTree(OTHER, CHUNK), MerkleTree(DATA, CHUNK)
    blob = registry.add(DATA)
    async with between(tmp_path / "one", mirror, registry) as (_, file):
        mirror.prove(blob, MerkleEvidence(WORD, honest.root, CHUNK, tree.proof))
        assert bytes(await file.read(0, len(DATA))) == DATA
    mirror.prove(blob, MerkleEvidence(Voucher(Proof.NONE, "mirror"), tree.root, CHUNK, tree.proof))
    async with between(tmp_path / "two", mirror, registry) as (_, file):
        assert bytes(await file.read(0, len(DATA))) == DATA


@pytest.mark.logs("does not match its digest|wrong bytes twice|is blocked|Merkle")
async def test_p1_bytes_that_a_known_digest_rejects_are_fetched_elsewhere(tmp_path: Path) -> None:
    mirror, registry = sources(OTHER)
    async with between(tmp_path, mirror, registry) as (_, file):
        assert bytes(await file.read(0, CHUNK)) == DATA[:CHUNK]
        chunker = file._fetch.chunker
        assert chunker is not None
        chunker.mark(0, ABSENT)
        chunker.memory.forget(chunker)
        assert bytes(await file.read(0, CHUNK)) == DATA[:CHUNK]


@pytest.mark.logs("Merkle|does not match")
async def test_p2_bytes_that_changed_on_the_way_are_asked_for_again(tmp_path: Path) -> None:
    source = FakeSource()
    source.faults.append(flip)
    async with running(tmp_path, DATA, source=source, chunks=EVIDENCED, memory=64 << 20) as world:
        await world.read(0, len(DATA))
        await world.sealed()


async def test_p2_without_any_evidence_a_read_is_an_error_to_who_refuses_the_unproved(tmp_path: Path) -> None:
    source = FakeSource()
    async with running(tmp_path, DATA, source=source, chunks=EVIDENCED, unproved="refuse") as world:
        source._proofs.clear()
        with pytest.raises(NoEvidence):
            await world.file.read(0, 10)
        assert not world.fetch.present


@pytest.mark.logs("it is fetched whole")
async def test_p1_without_any_evidence_the_whole_decides(tmp_path: Path) -> None:
    """Also for chunks of which there was some: who waits is served when the sha256 of all has matched."""
    source = FakeSource()
    async with running(tmp_path, DATA, source=source, chunks=EVIDENCED, memory=64 << 20) as world:
        await world.read(0, 10)
        source._proofs.clear()
        source.gate.clear()
        async with trio.open_nursery() as nursery:
            for off in (3 * CHUNK, 5 * CHUNK, 5 * CHUNK):
                nursery.start_soon(world.read, off, 10)
            await until(lambda: len(source.asked) > 1)
            source.gate.set()
        await world.sealed()
        assert world.fetch.whole_first
        assert world.fetch.proof == "bound"


@pytest.mark.logs("it is fetched whole|does not match|A read failed")
async def test_p1_without_any_evidence_wrong_bytes_are_never_served(tmp_path: Path) -> None:
    source = FakeSource()
    blob = source.add(DATA, EVIDENCED)
    async with running(tmp_path, DATA, source=source, chunks=EVIDENCED, memory=64 << 20) as world:
        await world.read(0, 10)
        source.claim(blob, OTHER)
        source._proofs.clear()
        with pytest.raises((DigestMismatch, BlobQuarantined)):
            await world.file.read(5 * CHUNK, 10)


@pytest.mark.logs("it is fetched whole")
async def test_p1_who_allows_the_unproved_is_served_what_nothing_proves(tmp_path: Path) -> None:
    source = FakeSource()
    async with running(tmp_path, DATA, source=source, chunks=EVIDENCED, unproved="allow", memory=64 << 20) as world:
        source._proofs.clear()
        async with trio.open_nursery() as nursery:
            for off in (0, 0, 5 * CHUNK):
                nursery.start_soon(world.read, off, 10)
        assert world.fetch.state in ("unproved", "sealed")


# Whose word it is


def lying(blob_data: bytes = DATA) -> FakeSource:
    """A registry that has other bytes under the blob's digest, and evidence that fits them."""
    source = FakeSource()
    source.claim(source.add(blob_data), OTHER, EVIDENCED)
    return source


@pytest.mark.logs("quarantine|the list lied|is blocked")
async def test_p4_evidence_that_lies_consistently_is_found_out_by_the_whole(tmp_path: Path) -> None:
    source = lying()
    async with served(tmp_path, source) as world:
        with contextlib.suppress(FusefsError):
            await world.file.read(0, len(DATA))
        await until(lambda: world.fetch.state == "quarantined")
        with pytest.raises(BlobQuarantined):
            await world.file.read(0, 10)


@pytest.mark.logs("does not match its digest|quarantine")
async def test_p1_where_nobody_is_believed_evidence_serves_no_byte_before_the_whole(tmp_path: Path) -> None:
    async with served(tmp_path / "liar", lying(), lists="bound") as world:
        with pytest.raises((DigestMismatch, BlobQuarantined)):
            await world.file.read(0, 10)
    honest = FakeSource()
    honest.add(DATA, EVIDENCED)
    async with served(tmp_path / "honest", honest, lists="bound") as world:
        await world.read(0, 10)
        await world.sealed()


@pytest.mark.logs("Merkle|does not match its digest")
async def test_p4_a_source_without_evidence_completes_what_another_registry_has_begun_to_prove(tmp_path: Path) -> None:
    theirs = FakeSource("another.example")
    theirs.add(DATA, ChunkList.evidenced(len(DATA), CHUNK, Voucher(Proof.REGISTRY, theirs.label)))
    async with served(tmp_path, theirs) as world:
        await world.read(0, CHUNK)
        assert world.fetch.state == "partial"
    plain = FakeSource("plain")
    plain.add(DATA)
    async with served(tmp_path, plain) as world:
        await world.read(5 * CHUNK, 10)
        await world.sealed()
        assert not any(chunk.start < CHUNK for chunk in plain.asked), "what they have accepted is not fetched again"


@asynccontextmanager
async def served(root: Path, source: FakeSource, **changes: object) -> AsyncIterator[World]:
    """As `running`, of a source that has its blob already."""
    settings = replace(SETTINGS, unlisted_chunk_size=CHUNK, memory=64 << 20, **changes)  # type: ignore[arg-type]
    fetcher = Fetcher(await trio.to_thread.run_sync(DiskCache.open, root), settings, Counters())
    blob = Blob(Digest.of(DATA), len(DATA))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(fetcher.run)
            try:
                yield World(root, fetcher, fetcher._cache, source, DATA, blob)
            finally:
                nursery.cancel_scope.cancel()
    fetcher.close()
