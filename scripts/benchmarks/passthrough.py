"""Sealed files that the kernel reads itself: as fast as plain ones (B14), and held in memory once (B16)."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmarks import machine
from scripts.benchmarks.bench import Bench, Sample, check_file, read_together
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.warm import FUSEFS, WAYS, Warm
from scripts.benchmarks.warmreads import touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.benchmarks.warm import Way

READERS = 8
STARTING = 1.5
"""Seconds in which all readers have started."""


def as_plain(bench: Bench) -> None:
    """B14: in order, through a mapping, and single pages, each against the plain file."""
    warm = Warm(bench)
    words = "warm, passthrough, "
    if warm.why_off:
        for what in ("in order", "mmap"):
            bench.report.add(Result("B14", f"{words}{what}: throughput ÷ plain file", note=f"off: {warm.why_off}"))
        bench.report.add(Result("B14", f"{words}4 KiB pread: p50 ÷ plain file", note=f"off: {warm.why_off}"))
        return
    with warm.fusefs() as path:
        check_file(path, bench.big.digest)
    ways: dict[str, Way] = {FUSEFS: warm.fusefs, "plain": warm.plain}
    contenders: dict[str, Callable[[], Sample]] = {
        f"{name}, {what}": partial(warm.sample, way, operation)
        for what, operation in WAYS
        for name, way in ways.items()
    }
    samples = bench.take_turns("B14", contenders, settle=False)
    warm.rates("B14", samples)
    for what, _ in WAYS:
        ours, plain = (f"{name}, {what}" for name in ways)
        warm.faster("B14", f"{words}{what}: throughput ÷ plain file", samples, ours, plain, Goal("≥", 0.95))
    for what, operation, goal in (("pread", "single", Goal("≤", 1.5)), ("mmap fault", "fault", None)):
        figures = touch(warm, "B14", what, operation, {FUSEFS: warm.fusefs})
        value = figures[FUSEFS][0] / figures["plain"][0]
        bench.report.add(Result("B14", f"{words}4 KiB {what}: p50 ÷ plain file", value, goal=goal))


def many(bench: Bench) -> None:
    """B16: eight processes that read the same model through mappings, at once."""
    warm = Warm(bench)
    copies: list[float] = []

    def together(way: Way, *, counted: bool) -> Sample:
        machine.warm(warm.blob)
        with way() as path:
            at = time.monotonic() + STARTING
            found = read_together([("mapped", {"path": path, "at": at})] * READERS)
            if counted:
                copies.append(machine.copies(path, warm.blob) / bench.big.size)
        return Sample(max(one["start"] + one["seconds"] for one in found) - min(one["start"] for one in found))

    samples = bench.take_turns(
        "B16",
        {
            "fusefs, 8 processes": partial(together, warm.fusefs, counted=True),
            "plain, 8 processes": partial(together, warm.plain, counted=False),
        },
        settle=False,
    )
    note = f"passthrough is off: {warm.why_off}" if warm.why_off else ""
    value = bench.median(samples, "plain, 8 processes") / bench.median(samples, "fusefs, 8 processes")
    pages = bench.report.raw("B16", "pages in memory ÷ size", "", copies)
    words = "warm, 8 processes, mmap: "
    bench.report.add(
        Result("B16", words + "throughput ÷ plain file", value, goal=Goal("≥", 0.95), note=note),
        Result("B16", words + "MiB of page cache per MiB of file", pages, goal=Goal("≤", 1.05), note=note),
    )
