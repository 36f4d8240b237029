"""What else a mount answers while a cold read saturates the shaped link (B10)."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import flow, mounts
from scripts.benchmarks.bench import Bench, dd, percentile, read
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.servers import DELAY, PAYLOAD_RATE
from scripts.benchmarks.shaped import curl_chunk, far_apart
from scripts.benchmarks.stage import CommandFailed, clear, run
from scripts.benchmarks.threads import KINDS, counted

if TYPE_CHECKING:
    from scripts.benchmarks.servers import Request, Server

MIB = 1 << 20
IDLE, BUSY, CURLS = 15, 60, 20
"""Probes a turn: with two turns the 99th percentile is not just the worst."""

UNDER_WAY = 0.5
"""Seconds after which a download has filled the link; a fifth of it where that is less."""

Figures = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Load:
    """A cold read beside which there were probes.

    Attributes:
        outlived: it went on when the last probe had ended.
        seconds: how long the probes took.
        threads: CPU seconds of the daemon in that time, by kind of thread.
        asked: what it asked the server for, beginning with the cold read, until that had ended.
        counters: of the daemon, from its mount on.
    """

    outlived: bool
    seconds: float
    threads: dict[str, float]
    asked: list[Request]
    counters: dict[str, object]


def beside(bench: Bench, far: Server) -> None:
    """B10: listing, a warm read, and a demand read elsewhere, idle and while a cold read saturates the link.

    A demand read that took less time than the server takes to begin an answer was fetched ahead: it is counted, and
    not part of the percentiles.
    """
    idle: Figures = {}
    busy: Figures = {}
    loads: list[Load] = []
    curls: list[float] = []
    for turn in range(max(1, bench.runs // 2)):
        bench.settle()
        loads.append(_turn(bench, far, turn, idle, busy))
        curls += _curls(bench, far, turn)
    outlived = [float(load.outlived) for load in loads]
    bench.report.raw("B10", "the download outlived the probes (1: yes)", "", outlived)
    _note(bench, loads)
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
    curl = percentile(curls, 0.99)
    note = f"curl of a chunk beside curl of a file: {curl / before:.2f}"
    words = "beside a cold read: demand read ÷ curl of a chunk beside curl of a file"
    bench.report.add(
        Result("B10", "beside a cold read: demand read, p99 ÷ idle", value, goal=Goal("≤", 2), note=note),
        Result("B10", words, median / theirs),
        Result("B10", f"{words}, p99 of both", percentile(after, 0.99) / curl, goal=Goal("≤", 3)),
    )


def _note(bench: Bench, loads: list[Load]) -> None:
    """What the daemon did meanwhile: where a demand read can have waited."""
    who = "fusefs mount, busy"
    flow.note_requests(bench.report, "B10", who, [load.asked for load in loads])
    for kind in KINDS:
        shares = [load.threads[kind] / load.seconds for load in loads]
        bench.report.raw("B10", f"{who}: CPU of the {kind}, share of the time", "", shares)
    flow.note_counters(bench.report, "B10", who, [load.counters for load in loads], ("reads_waited", "retries"))


def _turn(bench: Bench, far: Server, turn: int, idle: Figures, busy: Figures) -> Load:
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [far.source(bench.big), far.source(bench.tensors)]) as mount:
        big, other = (next(mount.folder.rglob(model.file)) for model in (bench.big, bench.tensors))
        warm = min(16 * MIB, bench.tensors.size // 4)
        read("order", path=other, size=warm)
        rest = bench.tensors.size - 2 * warm
        offs = [2 * warm + off for off in far_apart(rest, IDLE + BUSY, seed=turn)]
        words: dict[str, Any] = {"folder": mount.folder, "path": other, "warm": warm, "pause": 0.05}
        _gather(idle, read("probe", **words, cold=offs[:IDLE], seconds=20))
        far.mark()
        reader = threading.Thread(target=dd, args=(big,), daemon=True)
        reader.start()
        time.sleep(_under_way(bench))
        start = time.monotonic()
        with counted(mount.pid) as threads:
            _gather(busy, read("probe", **words, cold=offs[IDLE:], seconds=0.6 * bench.big.size / PAYLOAD_RATE))
        seconds = time.monotonic() - start
        outlived = reader.is_alive()
        reader.join(120)
        load = Load(outlived, seconds, threads, far.content(), mount.status()["counters"])
    clear(cache)
    return load


def _under_way(bench: Bench) -> float:
    return min(UNDER_WAY, bench.big.size / PAYLOAD_RATE / 5)


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
    time.sleep(_under_way(bench))
    for off in far_apart(bench.tensors.size, CURLS, seed=turn):
        if times and not beside_it.is_alive():
            break
        times.append(curl_chunk(far, bench.tensors, off) * 1e3)
    beside_it.join(120)
    clear(out)
    return times
