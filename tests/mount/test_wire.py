"""Reads that threads answer beside pyfuse3, over the real kernel and a real cache."""

from __future__ import annotations

import errno
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pyfuse3
import pytest
import trio

from fusefs.fetch.idle import is_idle
from fusefs.fuse import kernel, session
from fusefs.fuse.mountpoint import mounted_at
from fusefs.fuse.session import mount_options
from fusefs.values import metrics
from fusefs.values.snapshot import File, Slice
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.tree import Tree
from tests.fakes import file_system_of
from tests.marks import one_soon
from tests.mounts import PATIENCE, start
from tests.world import quiet, running, some_bytes, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.blobfetch import BlobFetch
    from tests.mounts import Mount, Mounter
    from tests.world import World

DATA = some_bytes(4 << 20)
CHUNK = 64 << 10
MEMORY = 8 << 20


@asynccontextmanager
async def live(
    root: Path, data: bytes = DATA, *, wired: bool = True, **more: object
) -> AsyncIterator[tuple[World, Mount]]:
    """A mount of one file, `model`, whose bytes come from a fake source."""
    changes: dict[str, object] = {"chunk_size": CHUNK, "memory": MEMORY, "span_size": 4 * CHUNK, **more}
    async with running(root / "cache", data, **changes) as world, trio.open_nursery() as nursery:  # type: ignore[arg-type]
        tree = Tree([File("model", Slice.whole(world.blob), 0)])
        file_system = FileSystem(tree, lambda _: world.file, world.counters, look=world.fetcher.look)
        mount = await start(nursery, file_system, root / "mnt", wired=wired)
        assert bool(mount.session.wiring.threads) == wired
        yield world, mount
        nursery.cancel_scope.cancel()


def read_at(path: Path, off: int, size: int, *, direct: bool = False) -> bytes:
    fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if direct else 0))
    try:
        return read_from(fd, off, size)
    finally:
        os.close(fd)


def read_from(fd: int, off: int, size: int) -> bytes:
    with mmap.mmap(-1, size) as buffer:
        got = os.preadv(fd, [buffer], off)
        return buffer[:got]


@pytest.mark.parametrize("direct", one_soon([True, False]))
async def test_p2_many_readers_of_what_is_here_and_of_what_is_not_get_every_byte(tmp_path: Path, direct: bool) -> None:
    """Threads answer from memory, the page cache and the event loop's word, each with a buffer of its own."""
    async with live(tmp_path) as (world, mount):
        rng = random.Random(7)
        path, right = mount.path / "model", 0
        limiter = trio.CapacityLimiter(64)

        async def reader(seed: int) -> None:
            nonlocal right
            places = random.Random(seed)
            for _ in range(12):
                size = 4096 * places.randint(1, 64)
                off = 4096 * places.randrange(len(DATA) // 4096)
                got = await mount.run(partial(read_at, path, off, size, direct=direct), limiter=limiter)
                assert got == DATA[off : off + size], f"wrong bytes at {off}+{size}"
                right += 1

        async with trio.open_nursery() as nursery:
            for _ in range(64):
                nursery.start_soon(reader, rng.randrange(1 << 30))
        assert right == 64 * 12
        assert await mount.read("model") == DATA
        await world.sealed()
        assert await mount.run(lambda: read_at(path, 0, len(DATA), direct=True)) == DATA


READER = """
import mmap, os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
path, off, size, direct = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if direct else 0))
print("open", flush=True)
if direct:
    with mmap.mmap(-1, size) as buffer:
        data = buffer[: os.preadv(fd, [buffer], off)]
else:
    data = os.pread(fd, size, off)
sys.stdout.buffer.write(data)
"""


@asynccontextmanager
async def other_reader(mount: Mount, off: int, size: int, *, direct: bool) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Another process that reads a range of the file."""
    command = [sys.executable, "-c", READER, str(mount.path / "model"), str(off), str(size), str(direct)]
    process = await mount.run(lambda: subprocess.Popen(command, stdout=subprocess.PIPE))
    assert process.stdout is not None
    try:
        assert await mount.run(process.stdout.readline) == b"open\n"
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await mount.run(process.wait)
        process.stdout.close()


@pytest.mark.parametrize("direct", [False, True])
async def test_p6_a_reader_that_is_killed_while_it_waits_ends_at_once(tmp_path: Path, direct: bool) -> None:
    """The registry is silent and would be waited for ten minutes; the kernel waits with the dead for an answer."""
    async with live(tmp_path, timeout=600.0) as (world, mount):
        world.source.gate.clear()
        async with other_reader(mount, 0, CHUNK, direct=direct) as process:
            await until(lambda: bool(world.fetch.readers))
            process.kill()
            assert await mount.run(lambda: process.wait(timeout=20)) == -signal.SIGKILL
        if direct:
            await until(lambda: not world.fetch.readers)
        world.source.gate.set()
        assert await mount.read("model") == DATA


async def test_p2_a_signal_that_ends_nobody_ends_no_read(tmp_path: Path) -> None:
    """A file of a disk is read to the end, too; a fault of a mapped page that failed for a timer would be a SIGBUS."""
    async with live(tmp_path, timeout=600.0) as (world, mount):
        world.source.gate.clear()
        async with other_reader(mount, CHUNK, CHUNK, direct=True) as process:
            await until(lambda: bool(world.fetch.readers))
            for _ in range(3):
                process.send_signal(signal.SIGUSR1)
                await trio.sleep(0.15)
            assert world.fetch.readers
            world.source.gate.set()
            assert process.stdout is not None
            assert await mount.run(process.stdout.read) == DATA[CHUNK : 2 * CHUNK]


async def test_p6_a_reader_that_is_killed_after_another_signal_ends_at_once(tmp_path: Path) -> None:
    """The kernel tells of the first signal alone."""
    async with live(tmp_path, timeout=600.0) as (world, mount):
        world.source.gate.clear()
        async with other_reader(mount, 0, CHUNK, direct=True) as process:
            await until(lambda: bool(world.fetch.readers))
            process.send_signal(signal.SIGUSR1)
            await trio.sleep(0.3)
            assert world.fetch.readers
            process.kill()
            assert await mount.run(lambda: process.wait(timeout=20)) == -signal.SIGKILL


@pytest.mark.parametrize("how", ["abort", "umount -l", "cancel"])
async def test_p11_a_mount_ends_with_reads_of_what_is_absent_in_flight(tmp_path: Path, how: str) -> None:
    answers: list[int | None] = []
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as readers:
            async with live(tmp_path, timeout=600.0) as (world, mount):
                world.source.gate.clear()

                async def reader(off: int, *, direct: bool) -> None:
                    try:
                        await mount.run(partial(read_at, mount.path / "model", off, 4096, direct=direct))
                    except OSError as exc:
                        answers.append(exc.errno)

                for number in range(20):
                    readers.start_soon(partial(reader, CHUNK * number, direct=number % 2 == 0))
                await until(lambda: len(world.fetch.readers) >= 10)
                if how == "abort":
                    assert mount.session.minor is not None
                    assert kernel.abort(mount.session.minor)
                elif how == "umount -l":
                    await trio.run_process(["umount", "-l", mount.path])
                    assert mount.session.minor is not None
                    assert kernel.abort(mount.session.minor), "a detached mount lives while files of it are open"
            assert mounted_at(mount.path) is None
    assert len(answers) == 20
    # ENOENT: the mount was gone before that reader had opened the file.
    assert set(answers) <= {errno.ECONNABORTED, errno.ENOTCONN, errno.EIO, errno.ENOENT}


async def test_what_is_here_is_read_while_the_event_loop_stands_still(tmp_path: Path) -> None:
    """That is what the threads are for."""
    async with live(tmp_path) as (world, mount):
        assert await mount.read("model") == DATA
        await world.sealed()
        # What was fetched was written past the page cache, and the event loop waits for the disk.
        await mount.run(partial(read_at, mount.path / "model", 0, len(DATA), direct=True))
        fd = await mount.run(os.open, mount.path / "model", os.O_RDONLY | os.O_DIRECT)
        served = world.counters[metrics.BYTES_SERVED]
        got: list[bytes] = []
        thread = threading.Thread(target=lambda: got.append(read_from(fd, 0, len(DATA))), daemon=True)
        thread.start()
        thread.join(PATIENCE)  # the event loop stands still here
        await mount.run(os.close, fd)
        assert got == [DATA]
        assert world.counters[metrics.BYTES_SERVED] == served + len(DATA)


async def test_the_prefetcher_hears_of_reads_that_threads_have_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader in order who finds the next chunks here is still a reader in order."""
    async with live(tmp_path, timeout=60.0) as (world, mount):
        await mount.run(read_at, mount.path / "model", 0, CHUNK)
        seen: list[tuple[int, int]] = []
        true = world.fetcher.prefetcher.answered

        def answered(fetch: BlobFetch, chunker: Chunker, off: int, size: int) -> Callable[[], None] | None:
            seen.append((off, size))
            return true(fetch, chunker, off, size)

        monkeypatch.setattr(world.fetcher.prefetcher, "answered", answered)
        await mount.run(partial(read_at, mount.path / "model", 8192, 4096, direct=True))
        with trio.fail_after(PATIENCE):
            await until(lambda: (8192, 4096) in seen)


async def test_a_blob_that_a_thread_begins_to_read_is_not_closed_under_it(tmp_path: Path) -> None:
    """Who closes an idle blob takes the chunker away and looks for readers; a thread does it the other way round."""
    async with live(tmp_path) as (world, mount):
        await mount.run(read_at, mount.path / "model", 0, CHUNK)
        await quiet(world)
        await until(lambda: not world.fetch.readers and is_idle(world.fetch))
        chunker = world.fetch.chunker
        world.fetch.readers.append((0, 1))
        assert world.fetch.detach() is None
        assert world.fetch.chunker is chunker
        world.fetch.readers.remove((0, 1))
        assert world.fetch.detach() is chunker
        assert chunker is not None
        chunker.close()
        assert await mount.read("model") == DATA


async def test_p2_readers_get_every_byte_while_the_blob_is_closed_again_and_again(tmp_path: Path) -> None:
    """A thread that read a closed file would have the bytes of the next one with its number."""
    async with live(tmp_path) as (world, mount):
        path, chunkers, over = mount.path / "model", set(), False
        assert await mount.read("model") == DATA
        await world.sealed()
        limiter = trio.CapacityLimiter(4)

        def reader(seed: int) -> None:
            places = random.Random(seed)
            for _ in range(50):
                off = 4096 * places.randrange(len(DATA) // 4096)
                assert read_at(path, off, 8192, direct=True) == DATA[off : off + 8192], f"wrong bytes at {off}"

        async def closer() -> None:
            while not over:
                chunkers.add(id(world.fetch.chunker))
                await world.fetcher._idle._give_back(0)
                await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(closer)
            async with trio.open_nursery() as readers:
                for seed in range(4):
                    readers.start_soon(partial(mount.run, reader, seed, limiter=limiter))
            over = True
        assert len(chunkers) > 2, "it was never closed"


async def test_a_request_that_is_longer_than_most_reaches_its_handler(mount: Mounter) -> None:
    """The value of an extended attribute may have 64 KiB; anything longer the kernel fails by itself."""
    live = await mount({"x": b"x"}, options=mount_options("test") - {"ro", "default_permissions"})
    for size in (1 << 12, 60_000, 1 << 16):
        with pytest.raises(OSError) as caught:
            await live.run(os.setxattr, live.path / "x", "user.long", bytes(size))
        assert caught.value.errno == errno.EROFS


async def test_a_folder_of_thousands_is_listed_in_pieces_that_fit_the_socket(mount: Mounter) -> None:
    names = [f"{i:04}-{'n' * 200}" for i in range(4000)]
    live = await mount(dict.fromkeys(names, b""))
    assert sorted(await live.run(os.listdir, live.path)) == names
    assert len(await live.run(lambda: list(os.scandir(live.path)))) == len(names)


@pytest.mark.parametrize("refuses", ["the kernel", "pyfuse3"])
async def test_where_there_can_be_no_wire_pyfuse3_mounts_alone_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    true = pyfuse3.init

    def no_wire(operations: pyfuse3.Operations, path: str, options: set[str]) -> None:
        if path.startswith("/dev/fd/"):
            raise RuntimeError("fuse_session_new() failed")
        true(operations, path, options)

    def no_mount(*_: object) -> int:
        raise OSError(errno.EPERM, "mount: Operation not permitted")

    descriptors = len(os.listdir("/proc/self/fd"))
    if refuses == "pyfuse3":
        monkeypatch.setattr(pyfuse3, "init", no_wire)
    else:
        monkeypatch.setattr(session, "attach", no_mount)
    async with trio.open_nursery() as nursery:
        mount = await start(nursery, file_system_of({"x": b"hello"}), tmp_path / "mnt", wired=True)
        wiring = mount.session.wiring
        assert (wiring.threads, wiring.interrupts) == (0, False)
        assert wiring.why_not.endswith("not permitted" if refuses == "the kernel" else "fuse_session_new() failed")
        assert await mount.read("x") == b"hello"
        nursery.cancel_scope.cancel()
    assert mounted_at(tmp_path / "mnt") is None
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1
