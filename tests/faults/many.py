"""Many processes on one cache: forked from one that has imported everything, so that eight start in a second."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.cache.blob.mapfile import chunk_lock
from fusefs.cache.space.quota import Limits
from fusefs.daemon.mounting import start
from fusefs.engine.options import MountOptions, PullOptions
from fusefs.engine.pulling import pull
from fusefs.upkeep.collection import GcOptions, collect
from fusefs.upkeep.verifying import verify_all
from fusefs.values.names import Name
from fusefs.values.settings import Settings
from tests.conftest import fusefs_mounts
from tests.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

    from fusefs.cache.place import Place

SETTINGS = Settings(timeout=60.0, single_chunk_limit=0, span_size=1 << 18)
"""A small blob has many chunks, and a span four of them."""

_FLOCK = struct.Struct("hhqqi4x")


class Many:
    """Starts processes on the cache `cache`, and ends all of them with the test."""

    def __init__(self, root: Path, name: str, env: dict[str, str]) -> None:
        self.root = root
        self.cache = root / "cache"
        self._name = name
        self._env = env
        self._started: list[BaseProcess] = []
        self._mountpoints: list[Path] = []
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])

    def mount(self) -> tuple[BaseProcess, Path]:
        """A mount in a process of its own; where."""
        mountpoint = self.root / f"many{len(self._started)}"
        mountpoint.mkdir()
        self._mountpoints.append(mountpoint)
        process = self._start(_mount, str(mountpoint), str(self.root / f"{mountpoint.name}.log"))
        return process, mountpoint

    def wait_mounted(self) -> None:
        """Until every mount answers."""
        eventually("mounted", lambda: {str(path) for path in self._mountpoints} <= set(fusefs_mounts()))

    def pull(self) -> BaseProcess:
        """`fusefs pull`; its exit code says whether all went well."""
        return self._start(_pull)

    def verify(self) -> BaseProcess:
        """`fusefs verify`; fails when something was wrong."""
        return self._start(_verify)

    def gc(self, expected: bool) -> BaseProcess:
        """`fusefs gc --cache-size 1`; fails unless it freed something as `expected`."""
        return self._start(_gc, expected)

    def unmount(self, mountpoint: Path) -> None:
        """Clean up behind a mount that was killed."""
        os.spawnlp(os.P_WAIT, "fusermount3", "fusermount3", "-uz", str(mountpoint))
        self._mountpoints.remove(mountpoint)

    def end(self) -> None:
        """End what still runs, as SIGTERM ends it, and at the latest by force."""
        for process in self._started:
            if process.is_alive():
                process.terminate()
        for process in self._started:
            process.join(20)
            if process.is_alive():
                process.kill()
                process.join(10)
        for mountpoint in list(self._mountpoints):
            if str(mountpoint) in fusefs_mounts():
                self.unmount(mountpoint)

    def _start(self, work: Callable[..., None], *args: object) -> BaseProcess:
        process = self._context.Process(
            target=_child, args=(work, self._env, self._name, str(self.cache), *args), daemon=True
        )
        process.start()
        self._started.append(process)
        return process


def kill(process: BaseProcess, place: Place[Path], count: int) -> set[int]:
    """kill -9; the chunks that somebody was at, which may have been this one."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    at = _locked(place, count)
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    return at


def _locked(place: Place[Path], count: int) -> set[int]:
    """Chunks that any process has locked now."""
    try:
        fd = os.open(place.map, os.O_RDWR)
    except FileNotFoundError:
        return set()
    try:
        return {i for i in range(count) if _is_locked(fd, chunk_lock(i))}
    finally:
        os.close(fd)


def _is_locked(fd: int, off: int) -> bool:
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, off, 1, 0)
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _child(work: Callable[..., None], env: dict[str, str], *args: object) -> None:
    os.environ.update(env)
    work(*args)


def _mount(name: str, cache: str, mountpoint: str, log: str) -> None:
    options = MountOptions((Name.parse(name),), Path(mountpoint), Path(cache), (), SETTINGS, log_file=Path(log))
    start(options, foreground=True)


def _pull(name: str, cache: str) -> None:
    report = pull(PullOptions((Name.parse(name),), Path(cache), (), SETTINGS), lambda _: None)
    assert all(blob.state == "sealed" for blob in report.blobs), report


def _verify(name: str, cache: str) -> None:
    report = verify_all(Path(cache), lambda _: None)
    assert not any(blob.state == "dropped" for blob in report.blobs), report


def _gc(name: str, cache: str, expected: bool) -> None:
    report = collect(GcOptions(Path(cache), Limits(size=1)))
    assert bool(report.freed_total) is expected, report
