"""Scenes: what is done to a cache while its calls fail, and what must hold afterwards.

A scene begins with a directory that an earlier one has left (`before`), in another boot.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

import fusefs.cache.blob.mapfile
from fusefs.cache.blob.mapfile import Lock
from fusefs.cache.blob.verification import total, verify
from fusefs.cache.disk import DiskCache
from fusefs.cache.place import Place
from fusefs.cache.space.eviction import evict, scan
from fusefs.errors import FusefsError
from fusefs.fetch.idle import IdleBlobs
from fusefs.system.files import reader_of
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.trace import Trace
from tests.chunkers import corrupt
from tests.fake_source import chunk_list
from tests.faults.calls_life import Goods, living
from tests.world import NAME, some_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pytest

    from fusefs.values.chunks import Chunk
    from tests.faults.calls_life import Life

    Scene = Callable[["Stage"], Awaitable[None]]

GOODS = Goods()
STATES_AT = 128
_FLOCK = struct.Struct("hhqqi4x")


@dataclass
class Stage:
    """Where a scene plays.

    Attributes:
        root: the cache directory.
        goods: what the model is.
        compared: bytes that were read and right.
        told: errors that somebody was told.
        still_locked: locks that were left behind.
        requests: the ranges that the source was asked for.
    """

    root: Path
    goods: Goods = GOODS
    compared: int = 0
    told: int = 0
    still_locked: tuple[str, ...] = ()
    requests: list[tuple[Digest, Chunk]] = field(default_factory=list)

    @property
    def other(self) -> bytes:
        """What a liar has in place of the listed blob."""
        return some_bytes(len(self.goods.listed), seed=14)

    async def live(
        self, scene: Callable[[Life], Awaitable[None]], *, spill: int = 1 << 20, lying: bool = False
    ) -> None:
        """One process does `scene`; that its cache cannot be opened is an answer, too."""
        goods, source = self.goods, self.goods.source()
        if lying:
            other = self.other
            source.claim(Blob(Digest.of(goods.listed), len(other)), other, chunk_list(other, goods.chunk))
        self.requests = source.requests
        life = None
        try:
            async with living(self.root, goods, source, spill=spill) as life:
                await scene(life)
                await life.quiet()
                self.still_locked = locks_left(self.root)
        except FusefsError:
            if life is not None:
                raise
            self.told += 1
        if life is not None:
            self.compared += life.compared
            assert all(life.errnos), life.told
            self.told += len(life.told)

    def attempt(self, work: Callable[[], object]) -> bool:
        """Do what blocks, if it can be done."""
        try:
            work()
        except FusefsError:
            self.told += 1
            return False
        return True


# The scenes


async def arrive(stage: Stage) -> None:
    """Everything of a model arrives, out of order, so that a part is read back before the seal."""

    async def scene(life: Life) -> None:
        await life.attempt_in_thread(life.resolve)
        await life.attempt_in_thread(life.keeper.work)
        await life.read_chunks(stage.goods.listed, (8, 3, 5))
        await life.read_chunks(stage.goods.small)
        await life.read_chunks(stage.goods.unlisted)
        await life.read_chunks(stage.goods.evidenced, (2, 0))
        await life.read_chunks(stage.goods.evidenced)
        await life.read_chunks(stage.goods.listed)
        await life.quiet()
        for data in stage.goods.blobs:
            life.file(data).release()

    await stage.live(scene, spill=5 * stage.goods.chunk // 2)


async def return_(stage: Stage) -> None:
    """The next boot: what is claimed is proved, a rotten chunk is mended, the rest is fetched."""

    async def scene(life: Life) -> None:
        await life.attempt_in_thread(life.resolve)
        for data in stage.goods.blobs:
            await life.read_chunks(data)

    await stage.live(scene)


async def be_lied_to(stage: Stage) -> None:
    """A list of other content: every chunk of it matches, and the whole does not."""

    async def scene(life: Life) -> None:
        file = life.file(stage.goods.listed)
        # What matches the pinned list is served until the whole is known.
        for off in range(0, len(stage.other), stage.goods.chunk):
            with suppress(FusefsError):
                got = bytes(await file.read(off, stage.goods.chunk))
                assert got == stage.other[off : off + stage.goods.chunk], "not what the list says"
        await life.quiet()

    await stage.live(scene, lying=True)


async def look_after(stage: Stage) -> None:
    """What `verify` and `gc` do, and a manifest that is taken away."""
    await trio.lowlevel.checkpoint()
    opened: list[DiskCache] = []
    if not stage.attempt(lambda: opened.append(DiskCache.open(stage.root))):
        return
    cache = opened[0]
    stage.attempt(lambda: total(cache))
    stage.attempt(lambda: list(verify(cache)))
    for data in stage.goods.blobs:
        stage.attempt(partial(lend, cache, data, stage))
    blob = Blob(Digest.of(stage.goods.listed), len(stage.goods.listed))
    cache.traces.write(blob, Trace(((stage.goods.chunk, 2 * stage.goods.chunk), (0, stage.goods.chunk))))
    stage.attempt(lambda: cache.resolve(str(NAME).removeprefix("http://")))
    stage.attempt(lambda: cache.unlink(NAME))


def lend(cache: DiskCache, data: bytes, stage: Stage) -> None:
    """As a mount does for a kernel that reads a file by itself."""
    backing = cache.backing(Blob(Digest.of(data), len(data)))
    if backing is not None:
        try:
            assert os.pread(backing.fd, len(data), 0) == data, "lent, and not the blob"
            stage.compared += len(data)
        finally:
            backing.close()


async def evict_some(stage: Stage) -> None:
    """Room is made: of a sealed blob chunk by chunk while it is read, of another as a whole; one model is pinned."""

    async def scene(life: Life) -> None:
        await life.read_chunks(stage.goods.listed)
        await life.quiet()
        cache = life.cache

        def work() -> None:
            with suppress(OSError):
                cache.pins.add(NAME, stage.goods.manifest)
            with suppress(OSError):
                cache.pins.digests()
            for held in scan(cache):
                with suppress(OSError):
                    evict(cache, held, 3 * stage.goods.chunk)
            with suppress(OSError):
                cache.pins.remove(NAME)

        await life.attempt_in_thread(work)
        await life.read_chunks(stage.goods.listed)

    await stage.live(scene)


async def store(stage: Stage) -> None:
    """Whole blobs, put by hand."""
    await trio.lowlevel.checkpoint()
    opened: list[DiskCache] = []
    if not stage.attempt(lambda: opened.append(DiskCache.open(stage.root))):
        return
    cache = opened[0]
    small, digest = stage.goods.small, Digest.of(stage.goods.small)
    stage.attempt(lambda: cache.put(digest, reader_of(small), len(small)))
    stage.attempt(lambda: cache.import_blob(reader_of(stage.goods.manifest), len(stage.goods.manifest)))
    stage.attempt(lambda: cache.link(NAME, Digest.of(stage.goods.manifest)))

    def look() -> None:
        got = cache.read(digest, 1 << 10)
        assert got == small
        stage.compared += len(got)

    stage.attempt(look)
    assert set(cache.digests()) <= {Digest.of(data) for data in (*stage.goods.blobs, stage.goods.manifest)}


# What must hold


def recover(root: Path, goods: Goods = GOODS) -> Stage:
    """With nothing wrong any more, everything reads right and is sealed."""

    async def complete(life: Life) -> None:
        manifest = await trio.to_thread.run_sync(life.resolve)
        assert manifest.raw == goods.manifest
        for data in goods.blobs:
            assert await life.read_chunks(data), life.told
            await life.fetcher.complete(life.file(data)._fetch)
            assert life.file(data).state == "sealed"

    stage = Stage(root, goods)
    trio.run(stage.live, complete)
    for data in goods.blobs:
        sealed = Place(root, Digest.of(data)).sealed.read_bytes()
        assert sealed == data, "sealed, and not the blob"
    assert DiskCache.open(root).links.read(NAME) == goods.manifest
    assert not list(root.rglob(".tmp-*"))
    assert stage.still_locked == ()
    return stage


def temporary_files(root: Path) -> list[Path]:
    """Files on their way that were left behind."""
    return list(root.rglob(".tmp-*"))


def sweep_old(root: Path) -> None:
    """Make them look as if their owner had died long ago, and open the cache: they are gone."""
    for path in temporary_files(root):
        os.utime(path, (time.time() - 600, time.time() - 600))
    DiskCache.open(root)
    assert not temporary_files(root)


def files_open(root: Path) -> list[str]:
    """Files below `root` that this process has open; the directory itself is held for as long as the cache lives."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{fd}")
            if path.startswith(f"{root}/"):
                found.append(path)
    return found


def locks_left(root: Path, *, everything: bool = False) -> tuple[str, ...]:
    """Locks of chunks, of changes and of seals that somebody holds; with `everything`, of open blobs, too."""
    found = []
    for path in root.glob("*/sha256-*/map"):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            places = [
                *([Lock.OPEN] if everything else []),
                Lock.CHANGE,
                Lock.SEAL,
                *range(STATES_AT, os.fstat(fd).st_size),
            ]
            found += [f"{path}: {int(at)}" for at in places if not _can_lock(fd, at)]
        finally:
            os.close(fd)
    return tuple(found)


def _can_lock(fd: int, at: int) -> bool:
    """As `fusefs.system.locks.try_lock`, which may be failing just now."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0))
    except BlockingIOError:
        return False
    return True


def boot(patch: pytest.MonkeyPatch, number: int) -> None:
    """From here on it is this boot."""
    patch.setattr(fusefs.cache.blob.mapfile, "boot_id", lambda: bytes([number]) * 16)


@dataclass(frozen=True)
class Act:
    """A scene, and what lies there when it begins: nothing, or what another scene leaves, damaged.

    Attributes:
        scene: what is done.
        damage: to what `arrive` has left; without it the scene begins with nothing.
        again: without a fault it has to be done again before the cache can recover: a lie is to be found out.
    """

    scene: Scene
    damage: Callable[[Path], None] | None = None
    again: bool = False


def rot(root: Path, goods: Goods = GOODS) -> None:
    """A sealed blob has a rotten chunk, another lost its final name, the manifest's blob is torn."""
    corrupt(Place(root, Digest.of(goods.listed)).sealed, 7 * goods.chunk // 2)
    unlisted = Place(root, Digest.of(goods.unlisted))
    os.chmod(unlisted.sealed, 0o644)
    os.rename(unlisted.sealed, unlisted.data)
    manifest = Place(root, Digest.of(goods.manifest)).sealed
    os.chmod(manifest, 0o644)
    os.truncate(manifest, 20)


ACTS = {
    "arrive": Act(arrive),
    "return": Act(return_, rot),
    "be lied to": Act(be_lied_to, again=True),
    "look after": Act(look_after, rot),
    "store": Act(store),
    "evict": Act(evict_some, lambda _: None),
}


def without_waiting(patch: pytest.MonkeyPatch) -> None:
    """From here on fsync does nothing, and nobody waits long for a descriptor when there will never be one.

    Who has no power cut sees no difference, and no disk is waited for.
    """
    patch.setattr(os, "fsync", lambda fd: None)
    patiently = IdleBlobs.patiently

    async def briefly(idle: IdleBlobs, work: Callable[[], Awaitable[object]]) -> object:
        idle._timeout = 0.1
        return await patiently(idle, work)

    patch.setattr(IdleBlobs, "patiently", briefly)


def prepare(root: Path, goods: Goods = GOODS) -> None:
    """Let everything arrive, with nothing wrong."""
    stage = Stage(root, goods)
    trio.run(arrive, stage)
    assert not stage.told


def copy(origin: Path, root: Path, act: Act) -> None:
    """Set the stage."""
    if act.damage is not None:
        shutil.copytree(origin, root, symlinks=True)
        act.damage(root)
