"""Warm reads after a remount: from disk (B7a), from memory (B7b, B7d), as links (B7c), again (B8), at random (B9)."""

from __future__ import annotations

import contextlib
import random
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmarks import machine, mounts
from scripts.benchmarks.bench import Bench, Sample, WrongContent, check_equal, check_file, percentile, read
from scripts.benchmarks.kernelwindow import read_ahead_kb
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.stage import FUSEFS, clear, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Way = Callable[[], AbstractContextManager[Path]]

MIB = 1 << 20
PAGE = 4096
CEILING_KIB = 4096
"""The kernel's window of the bare server at its best: requests of 1 MiB, several in flight."""

TOUCHES = 2000
PAIRS = 4
"""For each run that was asked for."""


class Warm:
    """A cache that holds all of the big file, sealed, and ways to open it again and again.

    A model gets a new mount for each measurement, so that the mount itself has no pages in memory.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.cache = bench.folder / "warm"
        self.rclone_cache = bench.folder / "warm-rclone"
        self.source = bench.near.source(bench.big)
        if not self.cache.exists():
            run([FUSEFS, "pull", "--cache-dir", self.cache, self.source])
        self.blob = self.cache / "blobs" / bench.big.digest.replace(":", "-")

    @contextlib.contextmanager
    def fusefs(self, *options: str) -> Iterator[Path]:
        """The file in a new mount."""
        with mounts.fusefs(self.bench.mnt, self.cache, [self.source], *options) as mount:
            yield mount.folder / self.bench.big.file

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
        options = ["--vfs-cache-mode", "full", *mounts.rclone_best()]
        with mounts.rclone(self.bench.mnt, self.rclone_cache, self.bench.near.url + "/plain/", *options) as mount:
            yield mount.folder / self.bench.big.file

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

    def faster(self, row: str, what: str, samples: dict[str, list[Sample]], ours: str, theirs: str, goal: Goal) -> None:
        """Add the ratio of two throughputs."""
        value = self.bench.median(samples, theirs) / self.bench.median(samples, ours)
        self.bench.report.add(Result(row, what, value, goal=goal))


WAYS = (("in order", "order"), ("mmap", "mapped"))


def from_disk(bench: Bench) -> None:
    """B7a."""
    warm = Warm(bench)
    copy = bench.big.plain
    bench.report.raw("B7a", "pieces of the file on disk", "", [machine.extents(warm.blob)])
    bench.report.raw("B7a", "pieces of a copy that was written in order", "", [machine.extents(copy)])
    contenders: dict[str, Callable[[], Sample]] = {}
    for what, operation in WAYS:
        contenders[f"fusefs, {what}"] = partial(warm.sample, warm.fusefs, operation, on_disk=True)
        contenders[f"plain, {what}"] = partial(warm.sample, warm.plain, operation, on_disk=True)
        contenders[f"plain copy written in order, {what}"] = partial(warm.sample, warm.copy, operation, on_disk=True)
    samples = bench.take_turns("B7a", contenders, settle=False)
    warm.rates("B7a", samples)
    for what, goal in (("in order", 0.9), ("mmap", 0.8)):
        words = f"warm, from disk, {what}: throughput ÷ plain file"
        warm.faster("B7a", words, samples, f"fusefs, {what}", f"plain, {what}", Goal("≥", goal))


def from_memory(bench: Bench) -> None:
    """B7b."""
    warm = Warm(bench)
    with warm.fusefs() as path:
        window = read_ahead_kb(str(path.parent))
        check_file(path, bench.big.digest)
    has_rclone = bool(mounts.rclone_options())
    if has_rclone:
        with warm.rclone() as path:
            check_file(path, bench.big.digest)
    contenders: dict[str, Callable[[], Sample]] = {}
    for what, operation in WAYS:
        contenders[f"fusefs, {what}"] = partial(warm.sample, warm.fusefs, operation)
        contenders[f"bare, {what}"] = partial(warm.sample, partial(warm.bare, CEILING_KIB), operation)
        contenders[f"bare, fusefs' window, {what}"] = partial(warm.sample, partial(warm.bare, window), operation)
        contenders[f"plain, {what}"] = partial(warm.sample, warm.plain, operation)
        if has_rclone:
            contenders[f"rclone, {what}"] = partial(warm.sample, warm.rclone, operation)
    samples = bench.take_turns("B7b", contenders, settle=False)
    warm.rates("B7b", samples)
    for what, _ in WAYS:
        ours = f"fusefs, {what}"
        words = f"warm, from memory, {what}: throughput ÷ "
        warm.faster("B7b", words + "bare pread server", samples, ours, f"bare, {what}", Goal("≥", 0.9))
        if has_rclone:
            warm.faster("B7b", words + "rclone", samples, ours, f"rclone, {what}", Goal("≥", 5))
    if not has_rclone:
        bench.report.add(Result("B7b", "warm, from memory: throughput ÷ rclone", note="rclone is not there"))


def as_links(bench: Bench) -> None:
    """B7c: a link leads to the very file that it is compared with, so both are read below one mount, in pairs.

    The pages are the same too, and stay where they are: what differs is the way to the file.  Who reads first changes
    from pair to pair, and there are many pairs, for a read takes less time than what else a machine does.
    """
    warm = Warm(bench)
    with warm.fusefs("--sealed", "symlink") as link:
        if not link.is_symlink():
            raise WrongContent(f"B7c: {link} is no symbolic link")
        for what, operation in WAYS:
            machine.warm(warm.blob)
            found: dict[Path, list[Sample]] = {link: [], warm.blob: []}
            for pair in range(PAIRS * bench.runs + 1):
                for path in (link, warm.blob) if pair % 2 else (warm.blob, link):
                    sample = Sample(read(operation, path=path)["seconds"])
                    found[path] += [sample] if pair else []
            samples = {f"link, {what}": found[link], f"plain, {what}": found[warm.blob]}
            warm.rates("B7c", samples)
            words = f"warm, sealed as links, {what}: throughput ÷ plain file"
            warm.faster("B7c", words, samples, f"link, {what}", f"plain, {what}", Goal("≥", 0.98))


def kept(bench: Bench) -> None:
    """B7d: pages held twice; B8: a second read of the same mount."""
    warm = Warm(bench)
    twice: list[float] = []
    size = bench.big.size

    def again(way: Way, pages: list[float]) -> Sample:
        with way() as path:
            machine.forget(warm.blob)
            read("order", path=path)
            pages.append((machine.resident(path) + machine.resident(warm.blob)) / size)
            return Sample(read("order", path=path)["seconds"])

    samples = bench.take_turns(
        "B8",
        {
            "fusefs, pages kept": partial(again, warm.fusefs, twice),
            "bare, pages kept": partial(again, partial(warm.bare, CEILING_KIB), []),
            "plain": partial(warm.sample, warm.plain, "order"),
        },
        settle=False,
    )
    warm.rates("B8", samples)
    pages = bench.report.raw("B7d", "pages in memory ÷ size after one warm read", "", twice)
    bench.report.add(Result("B7d", "warm read once: MiB of page cache per MiB of file", pages, goal=Goal("≤", 1.2)))
    words = "warm, pages kept: throughput ÷ plain file"
    warm.faster("B8", words, samples, "fusefs, pages kept", "plain", Goal("≥", 0.95))


def at_random(bench: Bench) -> None:
    """B9: pages at random offsets, by pread and through a mapping."""
    warm = Warm(bench)
    offs = [off * PAGE for off in random.Random(9).sample(range(bench.big.size // PAGE), TOUCHES)]
    for what, operation in (("pread", "single"), ("mmap fault", "fault")):
        machine.warm(warm.blob)
        wanted = read(operation, path=warm.blob, offs=offs)
        halves: list[float] = []
        most: list[float] = []
        for _ in range(bench.runs):
            machine.warm(warm.blob)
            with warm.fusefs() as path:
                found = read(operation, path=path, offs=offs)
            check_equal(found["sha256"], wanted["sha256"], "B9")
            halves.append(percentile(found["each"], 0.5) * 1e6)
            most.append(percentile(found["each"], 0.99) * 1e6)
        bench.report.raw("B9", f"{what}, plain file, p50", "µs", [percentile(wanted["each"], 0.5) * 1e6])
        p50 = bench.report.raw("B9", f"{what}, p50", "µs", halves)
        p99 = bench.report.raw("B9", f"{what}, p99", "µs", most)
        bench.report.add(
            Result("B9", f"warm random 4 KiB {what}: p50", p50, "µs", Goal("≤", 60)),
            Result("B9", f"warm random 4 KiB {what}: p99", p99, "µs"),
        )


def forget(bench: Bench) -> None:
    """Give back the disk."""
    clear(bench.folder / "warm", bench.folder / "warm-rclone")
