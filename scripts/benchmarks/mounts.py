"""Mounts of fusefs, casync, a bare pread server, and any daemon in the foreground; each ends with its `with` block."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import machine, product
from scripts.benchmarks.stage import (
    CommandFailed,
    background,
    detach,
    end_pid,
    lives,
    module,
    mounted_at,
    run,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mount:
    """A live mount.

    Attributes:
        folder: where it is.
        pid: of its daemon.
        seconds: from the command to the mount's answer.
    """

    folder: Path
    pid: int
    seconds: float

    def cpu(self) -> float:
        """CPU seconds of the daemon and its children so far."""
        return machine.family_cpu_seconds(self.pid)

    def peak(self) -> int:
        """Largest resident set of the daemon so far, in bytes."""
        return machine.peak_memory(self.pid)

    def status(self) -> dict[str, Any]:
        """What `fusefs status` says."""
        mounts = json.loads(run(product.command("status", "--json", self.folder), limit=30).out)["mounts"]
        return dict(mounts[0])


@contextlib.contextmanager
def fusefs(folder: Path, cache_dir: Path, sources: Sequence[str], *options: str) -> Iterator[Mount]:
    """`fusefs mount`, and `fusefs umount` in the end."""
    folder.mkdir(exist_ok=True)
    pid = 0
    try:
        took = run(product.command("mount", "--cache-dir", cache_dir, *options, *sources, folder), limit=120).seconds
        pid = int(json.loads(run(product.command("status", "--json", folder), limit=30).out)["mounts"][0]["pid"])
        yield Mount(folder, pid, took)
    finally:
        if mounted_at(folder):
            with contextlib.suppress(CommandFailed):
                run(product.command("umount", folder), limit=30)
        detach(folder)
        if pid:
            wait_until(lambda: not lives(pid), 10)
            end_pid(pid)


@contextlib.contextmanager
def casync(folder: Path, index: str, store: str) -> Iterator[Mount]:
    """`casync mount` of an index on a web server."""
    with foreground(["casync", "mount", f"--store={store}", index, folder], folder) as mount:
        yield mount


@contextlib.contextmanager
def bare(folder: Path, path: Path, read_ahead_kb: int) -> Iterator[Mount]:
    """The bare pread server over one file."""
    with foreground(module("bareserver", str(path), str(folder), str(read_ahead_kb)), folder, ready=True) as mount:
        yield mount


@contextlib.contextmanager
def foreground(argv: Sequence[str | Path], folder: Path, *, ready: bool = False) -> Iterator[Mount]:
    """A daemon that stays our child; `ready` when it says so itself, else when the mount is there."""
    folder.mkdir(exist_ok=True)
    log = folder.with_suffix(".log")
    start = time.perf_counter()
    with background(argv, log=log) as process:
        try:
            wait_until(lambda: process.poll() is not None or _is_up(folder, log if ready else None), 30)
            if process.poll() is not None or not _is_up(folder, log if ready else None):
                raise CommandFailed(f"{argv[0]} did not mount: {log.read_text()[-300:]}")
            yield Mount(folder, process.pid, time.perf_counter() - start)
        finally:
            detach(folder)


def _is_up(folder: Path, log: Path | None) -> bool:
    return "ready" in log.read_text() if log else mounted_at(folder)
