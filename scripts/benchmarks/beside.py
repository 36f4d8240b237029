"""What else a mount answers while a cold read saturates the shaped link (B10)."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import mounts
from scripts.benchmarks.bench import Bench, dd, percentile, read
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.servers import DELAY, PAYLOAD_RATE
from scripts.benchmarks.shaped import curl_chunk, far_apart
from scripts.benchmarks.stage import CommandFailed, clear, run

if TYPE_CHECKING:
    from scripts.benchmarks.servers import Server

MIB = 1 << 20
IDLE, BUSY, CURLS = 15, 60, 20
"""Probes a turn: with two turns the 99th percentile is not just the worst."""

UNDER_WAY = 0.5
"""Seconds after which a download has filled the link."""

Figures = dict[str, list[float]]


def beside(bench: Bench, far: Server) -> None:
    """B10: listing, a warm read, and a demand read elsewhere, idle and while a cold read saturates the link.

    A demand read that took less time than the server takes to begin an answer was fetched ahead: it is counted, and
    not part of the percentiles.
    """
    idle: Figures = {}
    busy: Figures = {}
    outlived: list[float] = []
    curls: list[float] = []
    for turn in range(max(1, bench.runs // 2)):
        bench.settle()
        _turn(bench, far, turn, idle, busy, outlived)
        curls += _curls(bench, far, turn)
    bench.report.raw("B10", "the download outlived the probes (1: yes)", "", outlived)
    for what, name, goal in (("ls -lR", "listing", Goal("≤", 5)), ("warm 4 KiB read", "local", None)):
        bench.report.raw("B10", f"{what}, idle", "ms", idle[name])
        bench.report.raw("B10", f"{what}, busy", "ms", busy[name])
        bench.report.add(
            Result("B10", f"beside a cold read: {what}, p99", percentile(busy[name], 0.99), "ms", goal=goal)
        )
    before = bench.report.raw("B10", "demand read, idle", "ms", _asked(idle["demand"]))
    after = _asked(busy["demand"])
    median = bench.report.raw("B10", "demand read, busy", "ms", after)
    bench.report.raw("B10", "demand reads, busy, that had been fetched ahead", "", [len(busy["demand"]) - len(after)])
    theirs = bench.report.raw("B10", "curl of a chunk beside curl of a file", "ms", curls)
    value = percentile(after, 0.99) / before
    if not all(outlived):
        bench.report.add(Result("B10", "beside a cold read", note="the download ended before the probes did"))
    note = f"curl of a chunk beside curl of a file: {percentile(curls, 0.99) / before:.2f}"
    bench.report.add(
        Result("B10", "beside a cold read: demand read, p99 ÷ idle", value, goal=Goal("≤", 2), note=note),
        Result("B10", "beside a cold read: demand read ÷ curl of a chunk beside curl of a file", median / theirs),
    )


def _turn(bench: Bench, far: Server, turn: int, idle: Figures, busy: Figures, outlived: list[float]) -> None:
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [far.source(bench.big), far.source(bench.tensors)]) as mount:
        big, other = (next(mount.folder.rglob(model.file)) for model in (bench.big, bench.tensors))
        warm = min(16 * MIB, bench.tensors.size // 4)
        read("order", path=other, size=warm)
        offs = far_apart(bench.tensors.size - 2 * warm, IDLE + BUSY, seed=turn)
        offs = [off + 2 * warm - 4 * MIB for off in offs]
        words: dict[str, Any] = {"folder": mount.folder, "path": other, "warm": warm, "pause": 0.05}
        _gather(idle, read("probe", **words, cold=offs[:IDLE], seconds=20))
        reader = threading.Thread(target=dd, args=(big,), daemon=True)
        reader.start()
        time.sleep(UNDER_WAY)
        _gather(busy, read("probe", **words, cold=offs[IDLE:], seconds=0.6 * bench.big.size / PAYLOAD_RATE))
        outlived.append(float(reader.is_alive()))
        reader.join(120)
    clear(cache)


def _gather(into: Figures, found: Figures) -> None:
    for name, seconds in found.items():
        into.setdefault(name, []).extend(second * 1e3 for second in seconds)


def _asked(demand: list[float]) -> list[float]:
    """The times, in ms, of those reads that the server was asked for."""
    return [ms for ms in demand if ms >= DELAY * 1e3] or demand


def _curls(bench: Bench, far: Server, turn: int) -> list[float]:
    """What the link itself allows, in ms: curl of a chunk while another curl downloads a file."""
    out = bench.folder / "download"
    times: list[float] = []

    def download() -> None:
        with suppress(CommandFailed):
            run(["curl", "-s", "-f", "-o", out, far.url + bench.big.blob])

    beside_it = threading.Thread(target=download, daemon=True)
    beside_it.start()
    time.sleep(UNDER_WAY)
    for off in far_apart(bench.tensors.size, CURLS, seed=turn):
        if not beside_it.is_alive():
            break
        times.append(curl_chunk(far, bench.tensors, off) * 1e3)
    beside_it.join(120)
    clear(out)
    return times
