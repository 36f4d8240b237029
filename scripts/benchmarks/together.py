"""Several readers of one cold file at once, on loopback (B6)."""

from __future__ import annotations

import time

from scripts.benchmarks import flow, mounts
from scripts.benchmarks.bench import Bench, Sample, check_file, read_together
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.servers import twice
from scripts.benchmarks.stage import clear
from scripts.benchmarks.threads import counted

MIB, GIB = 1 << 20, 1 << 30
READERS = 8


def together(bench: Bench) -> None:
    """B6: eight readers of one cold file, in order or each in a part of its own, against one."""
    size = bench.big.size
    part = -(-size // READERS)
    parts = [(off, min(part, size - off)) for off in range(0, size, part)]
    samples = bench.take_turns(
        "B6",
        {
            "1 reader": lambda: _readers(bench, [(0, size)]),
            "8 readers, the same": lambda: _readers(bench, [(0, size)] * READERS),
            "8 readers, parts": lambda: _readers(bench, parts),
        },
        warm_up=False,
    )
    for name, found in samples.items():
        flow.note_threads(bench.report, "B6", name, [sample.threads for sample in found], size / GIB)
        # What a reader spends is not the daemon's: a copy out of the page cache for each of them.
        bench.report.raw("B6", f"{name}: CPU of all readers", "s/GiB", [sample.cpu / size * GIB for sample in found])
    for name in ("8 readers, the same", "8 readers, parts"):
        bench.compare("B6", f"cold, {name}: time ÷ 1 reader", samples, name, "1 reader", Goal("≤", 1.1))
        most = max(sample.ratio for sample in samples[name])
        bench.report.add(Result("B6", f"cold, {name}: bytes fetched ÷ size", most, goal=Goal("=", 1)))
    bench.peaks["B6"] = [sample.peak for found in samples.values() for sample in found]


def _readers(bench: Bench, spans: list[tuple[int, int]]) -> Sample:
    cache = bench.fresh("cache")
    bench.near.mark()
    with mounts.fusefs(bench.mnt, cache, [bench.near.source(bench.big)]) as mount:
        path = mount.folder / bench.big.file
        with counted(mount.pid) as threads:
            at = time.monotonic() + 1.5  # until all processes have started
            found = read_together(
                [("order", {"path": path, "off": off, "size": size, "at": at}) for off, size in spans]
            )
        seconds = max(one["start"] + one["seconds"] for one in found) - min(one["start"] for one in found)
        peak = mount.peak()
        check_file(path, bench.big.digest)
    clear(cache)
    sent = bench.near.content()
    if again := twice(sent, bench.big.size):
        bench.report.raw("B6", f"{len(spans)} readers: bytes fetched twice", "MiB", [again / MIB])
    cpu = sum(one["cpu"] for one in found)
    return Sample(seconds, cpu, peak, sum(request.sent for request in sent) / bench.big.size, threads)
