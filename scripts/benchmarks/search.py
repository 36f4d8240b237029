"""Search: the flags with which rclone reads a cold file fastest, one flag after another (`scripts/bench --search`).

From the flags that are in use, each is given every other value while the rest stay; the value that was fastest stays
for what follows.  That is no proof of the best, and the table says all that was tried.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from scripts.benchmarks import rclone
from scripts.benchmarks.bench import Bench, dd
from scripts.benchmarks.results import Result, figure
from scripts.benchmarks.stage import clear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripts.benchmarks.rclone import Flags, Mode
    from scripts.benchmarks.results import Report

VALUES = {
    "--vfs-read-chunk-streams": ("0", "2", "4", "8", "16"),
    "--vfs-read-chunk-size": ("4M", "16M", "64M", "128M"),
    "--vfs-read-ahead": ("0", "128M", "256M", "1G"),
    "--buffer-size": ("0", "16M", "64M", "256M"),
    "--max-read-ahead": ("128Ki", "1Mi", "4Mi"),
}
"""Those that bear on reading in order; the first of the last is rclone's default, and the kernel's."""

MEANINGLESS = 0.02
"""Parts of the time by which one set of flags must be faster than another to be called better."""


def search(bench: Bench) -> None:
    """Measure both modes; says in the table whether the flags in use are the best that were found.

    Raises:
        LookupError: rclone is not installed.
    """
    for mode in rclone.BEST:

        def take(flags: Flags, mode: Mode = mode) -> float:
            times = [_once(bench, mode, flags) for _ in range(bench.runs)]
            return bench.report.raw(f"rclone {mode}", " ".join(rclone.words(flags)), "s", times)

        best, seconds, known = climb(rclone.BEST[mode], take)
        words = " ".join(rclone.words(best))
        note = "these are in use" if known - seconds <= MEANINGLESS * known else "better than those in rclone.py"
        bench.report.add(Result(f"rclone {mode}", f"best flags: {words}", seconds, "s", note=note))


def climb(start: Flags, take: Callable[[Flags], float]) -> tuple[Flags, float, float]:
    """Try each value of each flag, once; `take` measures a set of flags in seconds.

    Returns:
        The best flags, their seconds, and those of `start`.
    """
    best, known = dict(start), take(start)
    seconds = known
    for flag, values in VALUES.items():
        at_first = best.get(flag)
        for value in values:
            if value != at_first:
                tried = best | {flag: value}
                took = take(tuple(tried.items()))
                if took < seconds:
                    best, seconds = tried, took
    return tuple(best.items()), seconds, known


def _once(bench: Bench, mode: Mode, flags: Flags) -> float:
    cache = bench.fresh("rclone")
    bench.settle()
    with rclone.mount(bench.mnt, cache, bench.near.url + "/plain/", mode, flags) as mount:
        seconds, _ = dd(mount.folder / bench.big.file)
    clear(cache)
    return seconds


def table(report: Report) -> str:
    """All flags that were tried, in their order, as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    facts = report.machine
    machine = f"{facts.get('processor', '?')}, {facts.get('cores', '?')} cores"
    size, runs = (report.setting.get(name, "?") for name in ("file size", "runs"))
    yield f"{facts.get('date', '?')}. rclone {facts.get('rclone', '?')}. {machine}."
    yield f"A cold file of {size} in order on loopback; medians, runs: {runs}."
    yield ""
    yield "| cache mode | flags | s | best |"
    yield "|---|---|--:|---|"
    for series in report.series:
        best = next((one for one in report.results if one.row == series.row), None)
        mark = "✓" if best is not None and best.what == f"best flags: {series.who}" else ""
        median = statistics.median(series.values)
        yield f"| {series.row.removeprefix('rclone ')} | `{series.who}` | {figure(median)} | {mark} |"
