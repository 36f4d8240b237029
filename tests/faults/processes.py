"""Real processes for the fault tests: a reader that compares, and a mount that is killed and made again."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fusefs.cache.blob.mapfile import ABSENT, peek
from fusefs.cache.place import Place
from fusefs.daemon.control import daemon_of
from fusefs.fuse.mountpoint import mounted_at
from tests.conftest import fusefs_mounts
from tests.patience import eventually
from tests.programs.world import is_running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.paced import PacedRegistry
    from tests.programs.world import World

MIB = 1 << 20


def marked(cache: Path, registry: PacedRegistry) -> set[int]:
    """Chunks that the map says are on disk."""
    place = Place(cache, registry.blob.digest)
    if place.sealed.exists():
        return set(range(len(registry.chunks)))
    return {i for i, state in enumerate(peek(place.map, registry.blob)) if state != ABSENT}


class Reader(threading.Thread):
    """Reads a whole file from MiB `start` on and round again, and compares, until it ends or fails.

    Attributes:
        wrong: offsets of wrong bytes.
        failed: the errno that ended it, or 0.
    """

    def __init__(self, path: Path, data: bytes, start: int = 0) -> None:
        super().__init__()
        self.wrong: list[int] = []
        self.failed = 0
        self._path = path
        self._data = memoryview(data)
        self._start = start

    def run(self) -> None:
        """The thread's work, or a call."""
        offsets = list(range(0, len(self._data), MIB))
        try:
            fd = os.open(self._path, os.O_RDONLY)
            try:
                for off in offsets[self._start :] + offsets[: self._start]:
                    self._piece(fd, off, min(off + MIB, len(self._data)))
            finally:
                os.close(fd)
        except OSError as exc:
            self.failed = exc.errno or -1

    def _piece(self, fd: int, off: int, stop: int) -> None:
        """When a page fails amid a read(2), the kernel gives what it has, and the error to the next one."""
        while off < stop:
            got = os.pread(fd, stop - off, off)
            if not got or got != self._data[off : off + len(got)]:
                self.wrong.append(off)
                return
            off += len(got)


class Killable:
    """A mount at one mount point that is made, killed and cleaned up again and again.

    Attributes:
        path: the mount point.
    """

    def __init__(self, world: World, registry: PacedRegistry, cache: Path, name: str) -> None:
        self.path = world.root / name
        self.path.mkdir()
        self._world = world
        self._registry = registry
        self._cache = cache

    def mount(self) -> int:
        """Mount with the real command; the daemon's pid."""
        log = self._world.root / f"{self.path.name}.log"
        self._world.fusefs("mount", self._registry.name, self.path, "--cache-dir", self._cache, "--log-file", log)
        mount = mounted_at(self.path)
        assert mount is not None
        peer = daemon_of(mount)
        assert peer is not None
        return peer.pid

    def umount(self) -> None:
        """Unmount with the real command, whatever is there."""
        self._world.fusefs("umount", self.path)
        assert str(self.path) not in fusefs_mounts()


@contextmanager
def killable(world: World, registry: PacedRegistry, cache: Path, name: str = "killable") -> Iterator[Killable]:
    """A Killable that leaves no mount behind when the test fails."""
    made = Killable(world, registry, cache, name)
    try:
        yield made
    finally:
        if str(made.path) in fusefs_mounts():
            registry.begin(0)
            subprocess.run(["fusermount3", "-uz", made.path], timeout=20, check=False, capture_output=True)


def kill(pid: int) -> None:
    """kill -9, and wait until nothing of the process runs any more."""
    os.kill(pid, signal.SIGKILL)
    eventually("the killed process ends", lambda: not is_running(pid))
