"""Readers who wait for a dead registry, by the hundred: whatever else is mounted is read as if they were not there."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from fusefs.values.settings import MIB
from tests.faulty_registry import FaultyRegistry
from tests.patience import HANGS, eventually, takes_at_most
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faulty_registry import Model
    from tests.programs.world import Mounted, World

    Record = Callable[[str, object], None]

PAGE = 4096
SMALL = some_bytes(5_000, seed=2)
LARGE = some_bytes(2 * MIB, seed=3)
TIMEOUT = 2 * HANGS
"""Seconds at which those who wait for the dead would fail: whoever waits for them hangs."""


def _look(path: Path, off: int) -> None:
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # a request for each page, through the page cache
            os.pread(fd, 1, off)
        finally:
            os.close(fd)
    except OSError:
        pass  # the mount ends under them


@contextmanager
def waiting(mount: Mounted, path: Path, count: int) -> Iterator[None]:
    """`count` threads wait in the kernel for as many pages of `path`, to the end of the mount."""
    minor = os.minor(os.stat(mount.path).st_dev)
    threading.stack_size(128 << 10)
    threads = [threading.Thread(target=_look, args=(path, PAGE * i), daemon=True) for i in range(count)]
    threading.stack_size(0)
    for thread in threads:
        thread.start()
    counter = f"/sys/fs/fuse/connections/{minor}/waiting"

    def all_wait() -> bool:
        with open(counter) as file:
            return int(file.read()) >= count

    eventually("all wait", all_wait)
    yield


def _served_soon(mount: Mounted, files: dict[Path, bytes], record: Record) -> None:
    for path, data in files.items():
        began = time.monotonic()
        with takes_at_most():
            assert path.read_bytes() == data
        record("faults.seconds_waited", round(time.monotonic() - began))
        with takes_at_most():
            os.listdir(mount.path)
            os.stat(path)
    record("faults.bytes_compared", sum(map(len, files.values())))
    record("faults.bytes_wrong", 0)


@pytest.mark.slow
@pytest.mark.parametrize("readers", [100, 1_100])
def test_p6_readers_of_a_dead_registry_hold_up_no_other_host(
    world: World, readers: int, record_property: Record
) -> None:
    """100 are more than a kernel lets wait by default, 1,100 more than were answered at a time."""
    with FaultyRegistry() as dead, FaultyRegistry(address="127.0.0.2") as healthy, ExitStack() as stack:
        lost = dead.add_model("library/dead:latest", {"lost.bin": some_bytes(PAGE * readers)}, chunk_size=PAGE)
        model = healthy.add_model("library/healthy:latest", {"small.bin": SMALL, "large.bin": LARGE})
        mount = stack.enter_context(_mounted(world, lost, model))
        dead.fault("silence-before", "/blobs/", times=None)
        stack.enter_context(waiting(mount, _find(mount, "lost.bin"), readers))
        files = {_find(mount, "small.bin"): SMALL, _find(mount, "large.bin"): LARGE}
        _served_soon(mount, files, record_property)
        record_property("faults.readers", readers)


@pytest.mark.slow
def test_p6_readers_of_a_dead_blob_hold_up_no_other_blob_of_its_host(world: World, record_property: Record) -> None:
    readers = 200
    with FaultyRegistry() as registry, ExitStack() as stack:
        # Blobs that have nothing in common but their host: each is its own only chunk.
        lost = {f"lost{i}.bin": some_bytes(PAGE * 10, seed=10 + i) for i in range(20)}
        model = registry.add_model("library/m:latest", {**lost, "small.bin": SMALL, "large.bin": LARGE})
        mount = stack.enter_context(_mounted(world, model))
        for name in lost:
            registry.fault("silence-before", f"/blobs/{model.blobs[name].digest}", times=None)
        for name in lost:
            stack.enter_context(waiting(mount, _find(mount, name), readers // len(lost)))
        files = {_find(mount, "small.bin"): SMALL, _find(mount, "large.bin"): LARGE}
        _served_soon(mount, files, record_property)
        record_property("faults.readers", readers)


@contextmanager
def _mounted(world: World, *models: Model) -> Iterator[Mounted]:
    names = [str(model.name) for model in models]
    with world.mount(*names, options=("--timeout", f"{TIMEOUT}"), logs=None) as mount:
        yield mount


def _find(mount: Mounted, name: str) -> Path:
    (path,) = mount.path.rglob(name)
    return path
