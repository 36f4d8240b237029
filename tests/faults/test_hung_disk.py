"""P6: whoever only looks is answered whatever the disk does, and no handler touches a file on the event loop."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import trio

from fusefs.fuse.operations import FuseOperations
from fusefs.system.cores import LOADAVG
from fusefs.values.counters import Counters
from fusefs.values.snapshot import File, Slice
from fusefs.vfs.blobfile import BlobFile
from fusefs.vfs.filesystem import FileSystem
from fusefs.vfs.tree import ROOT_INODE, Tree
from tests.chunkers import blob_of, place_of
from tests.world import running, some_bytes, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.world import World

DATA = some_bytes(20_000)
OTHER = some_bytes(8_000, seed=2)

_CALLS = ("open", "stat", "lstat", "fstat", "read", "pread", "preadv", "pwrite", "write", "rename", "unlink", "scandir")
_CTX: Any = None


class Disk:
    """Every system call of files that Python makes, as far as the cache uses them.

    Attributes:
        of_loop: names of those that the event loop has made.
        hangs: who calls from a thread waits until this is set.
    """

    def __init__(self) -> None:
        self.of_loop: list[str] = []
        self.well = threading.Event()
        self.well.set()
        self.waiting = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        loop = threading.get_ident()
        with ExitStack() as stack:
            for name in _CALLS:
                stack.enter_context(mock.patch.object(os, name, self._watched(name, getattr(os, name), loop)))
            yield

    def _watched(self, name: str, call: Callable[..., Any], loop: int) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == loop:
                if not self._never_waits(name, args):
                    self.of_loop.append(name)
            elif not self.well.is_set():
                self.waiting += 1
                self.well.wait(60)
            return call(*args, **kwargs)

        return watched

    @staticmethod
    def _never_waits(name: str, args: tuple[Any, ...]) -> bool:
        """Reads that end at once when they would have to wait, and what the kernel says of itself, from no disk."""
        if name == "preadv":
            return os.RWF_NOWAIT in args
        if name == "read":
            return os.readlink(f"/proc/self/fd/{args[0]}") == str(LOADAVG)
        return name == "open" and args[0] == LOADAVG


@contextmanager
def hanging(disk: Disk) -> Iterator[None]:
    """The disk answers nobody for the block."""
    disk.well.clear()
    try:
        yield
    finally:
        disk.well.set()


def shown(world: World) -> tuple[FileSystem, FuseOperations]:
    """A mount's floors 4 and 5 over the world's blob and another one, with a kernel that keeps nothing."""
    blobs = [blob_of(DATA), blob_of(OTHER)]
    tree = Tree([File(name, Slice.whole(blob), 0) for name, blob in zip(("a", "b"), blobs, strict=True)])
    fetcher = world.fetcher
    file_system = FileSystem(
        tree, lambda blob: BlobFile(fetcher, fetcher.track(blob)), Counters(), look=fetcher.look, changing=0.0
    )
    return file_system, FuseOperations(file_system)


async def ask_everything(file_system: FileSystem, handlers: FuseOperations, name: str) -> dict[str, object]:
    """All that `ls -l`, `du`, `getfattr` and `fusefs status` ask of a file."""
    inode = (await handlers.lookup(ROOT_INODE, name.encode(), _CTX)).st_ino
    attributes = await handlers.getattr(inode, _CTX)
    await file_system.metadata.look_into(ROOT_INODE, 0)
    assert len(list(file_system.metadata.readdir(ROOT_INODE, 0))) == 4
    await handlers.statfs(_CTX)
    handle = (await handlers.open(inode, os.O_RDONLY, _CTX)).fh
    await handlers.release(handle)
    said = {
        what: (await handlers.getxattr(inode, f"user.fusefs.{what}".encode(), _CTX)).decode()
        for what in ("state", "present", "proof")
    }
    return {"blocks": attributes.st_blocks, **said}


@pytest.mark.parametrize("here", ["nothing", "some", "all", "open", "sealed by another"])
async def test_p6_no_handler_touches_a_file_on_the_event_loop(tmp_path: Path, here: str) -> None:
    """But for a read, and that only where it ends at once."""
    if here in ("some", "all"):
        async with running(tmp_path, DATA) as before:
            await before.read(0, 3_000 if here == "some" else len(DATA))
            if here == "all":
                await before.sealed()
    disk = Disk()
    async with running(tmp_path, DATA) as world:
        file_system, handlers = shown(world)
        if here in ("open", "sealed by another"):
            await world.read(0, 3_000)
        if here == "sealed by another":
            async with running(tmp_path, DATA) as other:
                await other.read(0, len(DATA))
                await other.sealed()
            await trio.sleep(0.3)  # for so long nobody looks again
        with disk.watched():
            said = await ask_everything(file_system, handlers, "a")
            inode = file_system.metadata.lookup(ROOT_INODE, b"a").inode
            handle = (await handlers.open(inode, os.O_RDONLY, _CTX)).fh
            assert bytes(await handlers.read(handle, 0, 3_000)) == DATA[:3_000]
            assert bytes(await handlers.read(handle, 0, 3_000)) == DATA[:3_000]
            await handlers.release(handle)
        assert disk.of_loop == []
    present = {"nothing": 0, "some": 3_000, "open": 3_000}.get(here, len(DATA))
    state = {0: "absent", 3_000: "partial"}.get(present, "sealed")
    assert (said["blocks"], said["present"], said["state"]) == (-(-present // 512), str(present), state)


async def test_p6_a_disk_that_hangs_keeps_nobody_who_looks_and_no_reader_of_what_is_open(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as before:
        await before.read(0, len(DATA))
        await before.sealed()
    disk = Disk()
    async with running(tmp_path, OTHER) as world:
        file_system, handlers = shown(world)
        await world.read(0, len(OTHER))
        with disk.watched(), hanging(disk):
            with trio.fail_after(20):
                for _ in range(20):
                    said = await ask_everything(file_system, handlers, "a")
                assert said["state"] == "absent", "nothing is known of it"
                assert disk.waiting
                inode = file_system.metadata.lookup(ROOT_INODE, b"b").inode
                handle = (await handlers.open(inode, os.O_RDONLY, _CTX)).fh
                assert bytes(await handlers.read(handle, 100, 5_000)) == OTHER[100:5_100]
                await handlers.release(handle)
            assert disk.of_loop == []
        await until(lambda: not world.fetcher._lookout._looking)
        assert (await ask_everything(file_system, handlers, "a"))["state"] == "sealed"


async def test_p6_what_was_seen_before_the_disk_hung_is_said_on(tmp_path: Path) -> None:
    async with running(tmp_path, DATA) as before:
        await before.read(0, 3_000)
    disk = Disk()
    async with running(tmp_path, OTHER) as world:
        file_system, handlers = shown(world)
        first = await ask_everything(file_system, handlers, "a")
        assert first["present"] == "3000"
        with disk.watched(), hanging(disk):
            await trio.sleep(0.3)
            assert await ask_everything(file_system, handlers, "a") == first
    assert place_of(tmp_path, DATA).map.exists()


async def test_p6_one_blob_whose_files_hang_keeps_one_thread_alone(tmp_path: Path) -> None:
    """Others are seen meanwhile, and nobody waits for the one twice."""
    async with running(tmp_path, DATA) as before:
        await before.read(0, 3_000)
    async with running(tmp_path, OTHER) as world:
        file_system, handlers = shown(world)
        hung, true_states = threading.Event(), world.cache.states

        def states(blob: Any) -> bytes:
            if blob == blob_of(DATA):
                hung.wait(60)
            return true_states(blob)

        with mock.patch.object(world.cache, "states", states):
            try:
                for _ in range(10):
                    await handlers.getattr(file_system.metadata.lookup(ROOT_INODE, b"a").inode, _CTX)
                assert world.fetcher.threads.busy == 1
                said = await handlers.getxattr(
                    file_system.metadata.lookup(ROOT_INODE, b"b").inode, b"user.fusefs.state", _CTX
                )
                assert said == b"absent"
            finally:
                hung.set()
