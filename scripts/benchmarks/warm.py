"""Warm: a cache that holds all of a file, sealed and proved, and the ways to read that file."""

from __future__ import annotations

import contextlib
from functools import cached_property, partial
from typing import TYPE_CHECKING

from scripts.benchmarks import machine, mounts, native, product, rclone
from scripts.benchmarks.bench import Bench, Sample, read
from scripts.benchmarks.results import Result
from scripts.benchmarks.stage import clear, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from scripts.benchmarks.results import Goal

    Way = Callable[[], AbstractContextManager[Path]]

PAGE = 4096
CEILING_KIB = 4096
"""The kernel's window of the bare server at its best: requests of 1 MiB, several in flight."""

FUSEFS = "fusefs"
WITHOUT = "fusefs, without passthrough"
WAYS = (("in order", "order"), ("mmap", "mapped"))
"""Of reading all of a file, each with its operation of `readers`."""


class Warm:
    """A cache that holds all of the big file, sealed, and ways to open it again and again.

    A model gets a new mount for each measurement, so that the mount itself has no pages in memory.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.cache = bench.folder / "warm"
        self.source = bench.near.source(bench.big)
        if not self.cache.exists():
            run(product.command("pull", "--cache-dir", self.cache, self.source))
        self.blob = self.cache / "blobs" / bench.big.digest.replace(":", "-")

    @contextlib.contextmanager
    def fusefs(self, *options: str) -> Iterator[Path]:
        """The file in a new mount."""
        with mounts.fusefs(self.bench.mnt, self.cache, [self.source], *options) as mount:
            yield mount.folder / self.bench.big.file

    @cached_property
    def why_off(self) -> str:
        """Why an ordinary mount does not hand the file to the kernel; empty when it does."""
        with mounts.fusefs(self.bench.mnt, self.cache, [self.source]) as mount:
            read("single", path=mount.folder / self.bench.big.file, offs=[0])
            return native.why_off(mount.status())

    def ours(self, row: str, what: str) -> dict[str, Way]:
        """An ordinary mount, and one whose daemon answers every read; says in the table when that is the same."""
        ways: dict[str, Way] = {FUSEFS: self.fusefs}
        if self.why_off:
            note = f"passthrough is off: {self.why_off}; the other rows are without it"
            self.bench.report.add(Result(row, f"{what}, without passthrough", note=note))
        else:
            ways[WITHOUT] = partial(self.fusefs, *native.options_without())
        return ways

    @contextlib.contextmanager
    def plain(self) -> Iterator[Path]:
        """The file itself."""
        yield self.blob

    @contextlib.contextmanager
    def copy(self) -> Iterator[Path]:
        """The file that the server has, which was written in order."""
        yield self.bench.big.plain

    @contextlib.contextmanager
    def bare(self, window: int) -> Iterator[Path]:
        """The file below the bare server."""
        with mounts.bare(self.bench.mnt, self.blob, window) as mount:
            yield mount.folder / self.blob.name

    @contextlib.contextmanager
    def rclone(self) -> Iterator[Path]:
        """The file in a new mount of rclone, whose cache holds it."""
        cache = self.bench.folder / "warm-rclone"
        with rclone.mount(self.bench.mnt, cache, self.bench.near.url + "/plain/", "full") as mount:
            yield mount.folder / self.bench.big.file

    @contextlib.contextmanager
    def juicefs(self) -> Iterator[Path]:
        """The file in a new mount of JuiceFS, whose cache holds it."""
        cache = self.bench.folder / "warm-juicefs"
        with self.bench.volume.mount(self.bench.mnt, cache, "--read-only") as mount:
            yield mount.folder / self.bench.big.plain.name

    def sample(self, way: Way, operation: str, *, on_disk: bool = False) -> Sample:
        """One read of all of it, with its backing file in memory, or with nothing in memory."""
        if not on_disk:
            machine.warm(self.blob)
        with way() as path:
            if on_disk:
                machine.forget(self.blob, self.bench.big.plain)
            return Sample(read(operation, path=path)["seconds"])

    def rates(self, row: str, samples: dict[str, list[Sample]]) -> None:
        """Raw figures in GB/s, beside those in seconds."""
        for name, found in samples.items():
            self.bench.report.raw(row, name, "GB/s", [self.bench.big.size / one.seconds / 1e9 for one in found])

    def faster(
        self, row: str, what: str, samples: dict[str, list[Sample]], ours: str, theirs: str, goal: Goal | None
    ) -> None:
        """Add the ratio of two throughputs."""
        value = self.bench.median(samples, theirs) / self.bench.median(samples, ours)
        self.bench.report.add(Result(row, what, value, goal=goal))


def forget(bench: Bench) -> None:
    """Give back the disk."""
    clear(*(bench.folder / name for name in ("warm", "warm-rclone", "warm-juicefs")))
