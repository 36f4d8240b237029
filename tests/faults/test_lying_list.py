"""Lying lists: somebody gives bytes of his own and a chunk list that fits them.  Who is believed, and what then?

Every read of every round is compared.  Where nobody may be believed (a name that pins the digest, a list of a mirror)
no wrong byte is served, ever.  Where the registry's word counts and the registry lies, wrong bytes may come until the
whole blob has been read; then no process serves another one, and what was open stays an error.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio

from fusefs.cache.blob.mapfile import CONDEMNED_AT
from fusefs.cache.disk import DiskCache
from fusefs.cache.place import Place
from fusefs.errors import FusefsError, TransportError
from fusefs.fetch.fetcher import Fetcher
from fusefs.sources.bound import BoundSource
from fusefs.sources.retry import Retrying
from fusefs.values.chunkpack import fingerprint, pack, unpack
from fusefs.values.chunks import Blob
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.snapshot import File, Slice
from fusefs.values.voucher import BOUND, UNKNOWN, Proof, Voucher
from fusefs.vfs.blobfile import BlobFile
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.tree import Tree
from tests.fake_source import FakeSource, chunk_list
from tests.faulty_registry import FaultyRegistry
from tests.patience import HANGS, eventually
from tests.world import NAME, SETTINGS, some_bytes, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fusefs.values.chunks import Chunk, ChunkList
    from fusefs.values.names import Name
    from fusefs.values.settings import Lists
    from tests.programs.world import World

CHUNK = 100
DATA = some_bytes(10 * CHUNK + 7)
LIE = some_bytes(len(DATA), seed=2)
BLOB = Blob(Digest.of(DATA), len(DATA))
PINNED = replace(NAME, digest=Digest.of(b"a manifest"))

VERDICT = (
    "quarantine|the list lied|is blocked|does not match its digest|is pinned by digest|--lists bound|A read failed"
)


@dataclass
class Scene:
    """Who gives what.

    Attributes:
        pinned: the name has a digest.
        registry: what the registry has: `right` or `lie`, each with a list that fits, or `right, no list`.
        mirror: the same of a mirror that is asked for bytes first; empty without one.
        lists: the option `--lists`.
    """

    pinned: bool
    registry: str
    mirror: str = ""
    lists: Lists | None = None
    sources: list[tuple[FakeSource, Proof]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for kind, proof in ((self.mirror, Proof.NONE), (self.registry, Proof.REGISTRY)):
            if kind:
                source = FakeSource("mirror" if proof == Proof.NONE else "registry")
                data = LIE if kind == "lie" else DATA
                source.claim(BLOB, data, None if "no list" in kind else chunk_list(data, CHUNK))
                self.sources.append((source, proof))

    @property
    def believes_nobody(self) -> bool:
        """Whether no wrong byte may be served even for a moment."""
        return self.registry != "lie" or self.lists == "bound" or (self.pinned and self.lists is None)


@asynccontextmanager
async def process(root: Path, scene: Scene) -> AsyncIterator[FileSystem]:
    """One process' file system with one file, `x`, over a cache that others may use, too."""
    settings = replace(SETTINGS, timeout=HANGS, unlisted_chunk_size=CHUNK, lists=scene.lists)
    fetcher = Fetcher(DiskCache.open(root), settings, Counters())
    fetch = fetcher.track(BLOB)
    for source, proof in scene.sources:
        retrying = Retrying(source, timeout=HANGS, counters=fetcher.counters, several=True, proof=proof)
        fetch.add_origin(BoundSource(retrying, PINNED if scene.pinned else NAME))
    tree = Tree([File("x", Slice.whole(BLOB), 0)])
    async with trio.open_nursery() as nursery:
        await nursery.start(fetcher.run)
        try:
            yield FileSystem(
                tree, lambda blob: BlobFile(fetcher, fetcher.track(blob)), fetcher.counters, look=fetcher.look
            )
        finally:
            nursery.cancel_scope.cancel()
    fetcher.close()


class Unreachable(FakeSource):
    """A registry behind a network that is down."""

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        """As Source.chunk_list."""
        raise TransportError(f"no route to the list of {name.short} {blob.digest.short}", source=self.label)

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> NoReturn:
        """As Source.open_range."""
        raise TransportError(f"no route to {name.short} {blob.digest.short} {chunk}", source=self.label)


def handle_of(fs: FileSystem) -> int:
    return fs.open(fs.tree.files[0].inode, os.O_RDONLY)


async def read(fs: FileSystem, handle: int, off: int = 0, size: int = len(DATA)) -> bytes | None:
    """The bytes, or None for an error."""
    try:
        return bytes(await fs.read(handle, off, size))
    except FusefsError:
        return None


def forged_list(root: Path, chunks: ChunkList, version: int) -> None:
    """What an older fusefs has kept, or what this one was told by some registry."""
    place = Place(root, BLOB.digest)
    place.folder.mkdir(parents=True)
    packed = pack(chunks, Voucher(Proof.REGISTRY, "registry"))
    if version == 1:
        starts, digests = chunks.packed()
        label = b"registry"
        head = struct.pack(
            "<16s32sQQHH", b"fusefs-chunks 1\n", fingerprint(chunks), len(DATA), len(chunks), 1, len(label)
        )
        packed = head + label + starts.tobytes() + (digests or b"")
    place.chunks.write_bytes(packed)


@pytest.mark.logs(VERDICT)
async def test_p1_a_mirror_that_fits_its_list_to_its_bytes_is_not_believed(tmp_path: Path) -> None:
    for pinned in (True, False):
        for registry in ("right", "right, no list"):
            async with process(tmp_path / f"{pinned}{registry}", Scene(pinned, registry, mirror="lie")) as fs:
                assert await read(fs, handle_of(fs), 0, 150) == DATA[:150]
                assert await read(fs, handle_of(fs)) == DATA


@pytest.mark.logs(VERDICT)
async def test_p1_under_a_pinned_digest_the_registry_is_not_believed_either(tmp_path: Path) -> None:
    async with process(tmp_path, Scene(True, "lie")) as fs:
        assert await read(fs, handle_of(fs), 0, 150) is None
    async with process(tmp_path, Scene(True, "lie", mirror="right")) as fs:
        assert await read(fs, handle_of(fs), 0, 150) == DATA[:150]


@pytest.mark.logs(VERDICT)
@pytest.mark.parametrize("version", [1, 2])
async def test_p1_a_list_that_lies_in_the_cache_is_not_believed_for_that(tmp_path: Path, version: int) -> None:
    DiskCache.open(tmp_path)
    forged_list(tmp_path, chunk_list(LIE, CHUNK), version)
    async with process(tmp_path, Scene(True, "lie", mirror="right")) as fs:
        assert await read(fs, handle_of(fs), 0, 150) in (None, DATA[:150])
        assert await read(fs, handle_of(fs)) in (None, DATA)


async def test_p1_a_list_of_an_older_cache_is_confirmed_by_the_registry(tmp_path: Path) -> None:
    DiskCache.open(tmp_path)
    forged_list(tmp_path, chunk_list(DATA, CHUNK), 1)
    assert DiskCache.open(tmp_path).voucher(BLOB) == UNKNOWN
    async with process(tmp_path, Scene(False, "right")) as fs:
        assert await read(fs, handle_of(fs), 0, 150) == DATA[:150]
        assert fs.metadata.getxattr(fs.tree.files[0].inode, "user.fusefs.proof") == b"registry registry"


async def test_p5_what_an_older_cache_holds_is_read_without_the_registry(tmp_path: Path) -> None:
    """Nobody can confirm the list: what was fetched by it is not lost for that (P7)."""
    scene = Scene(False, "right")
    async with process(tmp_path, scene) as fs:
        assert await read(fs, handle_of(fs), 0, 150) == DATA[:150]
    place = Place(tmp_path, BLOB.digest)
    place.chunks.unlink()
    place.map.rename(tmp_path / "map")
    place.data.rename(tmp_path / "data")
    place.folder.rmdir()
    forged_list(tmp_path, chunk_list(DATA, CHUNK), 1)
    (tmp_path / "map").rename(place.map)
    (tmp_path / "data").rename(place.data)
    scene.sources[0] = (Unreachable("registry"), Proof.REGISTRY)
    async with process(tmp_path, scene) as fs:
        assert await read(fs, handle_of(fs), 0, 150) == DATA[:150]


async def test_p1_what_was_proved_whole_once_is_bound_and_needs_nobody(tmp_path: Path) -> None:
    async with process(tmp_path, Scene(False, "right")) as fs:
        assert await read(fs, handle_of(fs)) == DATA
        await _sealed(fs)
    chunks, voucher = unpack(Place(tmp_path, BLOB.digest).chunks.read_bytes(), len(DATA))
    assert voucher == BOUND
    Place(tmp_path, BLOB.digest).sealed.unlink()  # evicted: its list is kept, and as good as before
    async with process(tmp_path, Scene(True, "right, no list")) as fs:
        assert await read(fs, handle_of(fs), 0, 150) == DATA[:150]
        assert fs.metadata.getxattr(fs.tree.files[0].inode, "user.fusefs.proof") == b"bound"
    assert chunks == chunk_list(DATA, CHUNK)


@pytest.mark.logs(VERDICT)
async def test_p1_a_list_whose_verdict_was_cut_off_by_a_crash_is_not_served_by_again(tmp_path: Path) -> None:
    liar, honest = Scene(False, "lie"), Scene(False, "right")
    async with process(tmp_path, liar) as fs:
        assert await read(fs, handle_of(fs), 0, 150) == LIE[:150]
    with Place(tmp_path, BLOB.digest).map.open("r+b") as file:
        file.seek(CONDEMNED_AT)
        file.write(b"\x01")
    async with process(tmp_path, honest) as fs:
        handle = handle_of(fs)
        assert await read(fs, handle, 0, 150) is None, "what was asked for by it is not to be had"
        assert await read(fs, handle, 0, 150) == DATA[:150]
    assert (tmp_path / "quarantine" / BLOB.digest.file_name / "chunks").exists()


async def _sealed(fs: FileSystem) -> None:
    await until(lambda: fs.metadata.presence(fs.tree.files[0])[1] == "sealed")


@pytest.mark.logs(VERDICT)
async def test_p1_a_sealed_blob_with_the_registrys_list_is_hashed_whole_for_a_pinned_name(tmp_path: Path) -> None:
    """Its list is of an older cache: nobody knows any more that it was sealed by it."""
    async with process(tmp_path, Scene(False, "right")) as fs:
        assert await read(fs, handle_of(fs)) == DATA
        await _sealed(fs)
    place = Place(tmp_path, BLOB.digest)
    place.chunks.write_bytes(pack(chunk_list(DATA, CHUNK), UNKNOWN))
    scene = Scene(True, "lie")
    async with process(tmp_path, scene) as fs:
        assert await read(fs, handle_of(fs), 0, 150) == DATA[:150]
    assert not scene.sources[0][0].asked
    assert DiskCache.open(tmp_path).voucher(BLOB) == BOUND


@pytest.mark.logs(VERDICT)
async def test_p1_lists_registry_takes_the_registrys_word_for_a_pinned_name(tmp_path: Path) -> None:
    async with process(tmp_path, Scene(True, "right", lists="registry")) as fs:
        assert await read(fs, handle_of(fs), 0, 150) == DATA[:150]
        assert fs.metadata.getxattr(fs.tree.files[0].inode, "user.fusefs.proof") == b"registry registry"


@pytest.mark.logs(VERDICT)
async def test_p2_who_has_it_open_when_the_lie_comes_out_gets_errors_in_every_process(tmp_path: Path) -> None:
    scene = Scene(False, "lie")
    async with process(tmp_path, scene) as here, process(tmp_path, scene) as there:
        mine, theirs = handle_of(here), handle_of(there)
        assert await read(there, theirs, 0, 150) == LIE[:150], "the registry's word counts for a tag"
        assert await read(here, mine, 0, 150) == LIE[:150]
        with trio.fail_after(HANGS):
            told = False
            while not told:  # the verdict follows the last chunk
                await trio.lowlevel.checkpoint()
                told = await read(here, mine) is None
        assert await read(there, theirs, 0, 150) is None, "at once"
        scene.sources[0][0].claim(BLOB, DATA, chunk_list(DATA, CHUNK))
        for fs, handle in ((here, mine), (there, theirs)):
            for _ in range(3):
                assert await read(fs, handle, 0, 150) is None, "open files stay an error"


@pytest.mark.logs(VERDICT)
@pytest.mark.parametrize("seed", range(8))
async def test_p1_whoever_lies_no_wrong_byte_is_served_under_a_pinned_digest(
    tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(seed)
    rounds = compared = wrong = injected = 0
    for number in range(12):
        scene = Scene(
            pinned=rng.random() < 0.6,
            registry=rng.choice(["right", "right, no list", "lie"]),
            mirror=rng.choice(["", "right", "lie", "lie"]),
            lists=rng.choice([None, None, "bound", "registry"]),
        )
        injected += (scene.registry == "lie") + (scene.mirror == "lie")
        root = tmp_path / str(number)
        if rng.random() < 0.3:
            DiskCache.open(root)
            forged_list(root, chunk_list(rng.choice([DATA, LIE, LIE]), CHUNK), rng.choice([1, 2]))
        # What the cache was told before may be a lie of the same registry: only a pinned name or `bound` needs nobody.
        strict = scene.lists == "bound" or (scene.pinned and scene.lists is None)
        async with contextlib.AsyncExitStack() as stack:
            systems = [await stack.enter_async_context(process(root, scene)) for _ in range(rng.choice([1, 2]))]
            handles = [(fs, handle_of(fs)) for fs in systems]
            for _ in range(6):
                fs, handle = rng.choice(handles)
                off = rng.randrange(len(DATA))
                size = rng.choice([1, CHUNK, len(DATA) - off])
                right = DATA[off : off + size]
                got = await read(fs, handle, off, size)
                rounds += 1
                if got is not None:
                    compared += len(got)
                    wrong += strict and got != right
                    assert not (strict and got != right), f"{scene}: wrong bytes at {off}"
    counts = {"rounds": rounds, "injected": injected, "bytes_compared": compared, "bytes_wrong": wrong}
    for name, count in counts.items():
        record_property(f"faults.{name}", count)


@pytest.mark.slow
@pytest.mark.logs(VERDICT)
def test_p2_pages_that_the_kernel_kept_of_a_lie_are_gone_with_it(world: World) -> None:
    """The real kernel, two mounts of one cache: a mapping of the wrong bytes does not show them for ever."""
    data, lie = some_bytes(70 << 20, seed=3), bytearray(some_bytes(70 << 20, seed=3))
    lie[5] ^= 1
    with ExitStack() as stack:
        registry = stack.enter_context(FaultyRegistry())
        model = registry.add_model("library/m:latest", {"x": data}, chunk_size=1 << 20)
        digest = model.blobs["x"].digest
        registry._blobs[digest] = bytes(lie)
        registry.set_chunksums(digest, "".join(chunk_list(bytes(lie), 1 << 20).format()).encode())
        here = stack.enter_context(world.mount(str(model.name), logs=VERDICT))
        there = stack.enter_context(world.mount(str(model.name), cache=here.cache, logs=VERDICT))
        files = [stack.enter_context(open(mount.path / "x", "rb", buffering=0)) for mount in (here, there)]
        assert [os.pread(file.fileno(), 10, 0) for file in files] == [bytes(lie[:10])] * 2
        with contextlib.suppress(OSError):
            (here.path / "x").read_bytes()  # the verdict follows

        def fails(fd: int) -> bool:
            try:
                return not os.pread(fd, 10, 0)
            except OSError:
                return True

        eventually("pages of the lie are gone", lambda: fails(files[0].fileno()))
        eventually("pages of the lie are gone there, too", lambda: fails(files[1].fileno()))
        assert (here.cache / "quarantine").is_dir()
