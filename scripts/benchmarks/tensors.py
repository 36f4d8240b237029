"""Tensors in random order over the shaped link (B3): the first time, and with the start that was recorded then."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripts.benchmarks import mounts
from scripts.benchmarks.bench import Bench, check_equal, keep_starts, read
from scripts.benchmarks.content import CHUNK, chunks_of, tensors_of
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.servers import PAYLOAD_RATE

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.benchmarks.content import Model
    from scripts.benchmarks.servers import Server

REPLAYED = ("", ", replayed")
"""The first cold read of a file, and the second: its data is gone from the cache, its access trace is not."""


@dataclass(slots=True)
class Measured:
    """What all runs showed: shares of the link's rate, bytes fetched ÷ bytes touched, bytes of memory."""

    shares: list[float] = field(default_factory=list)
    fetched: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)


def random_tensors(bench: Bench, far: Server) -> None:
    """B3: half of the tensors of a file, in random order, through a mapping; the other half tells what is wasted."""
    spans = half_of_tensors(bench.tensors)
    touched = sum(size for _, size in spans)
    chunks = {chunk for off, size in spans for chunk in chunks_of(off, size)}
    bench.report.raw("B3", "the chunks that hold them ÷ bytes touched", "", [len(chunks) * CHUNK / touched])
    wanted = read("spans_sha256", path=bench.tensors.plain, spans=spans)
    found = {which: Measured() for which in REPLAYED}
    recorded = True
    for _ in range(bench.runs):
        cache = bench.fresh("cache")
        for which in REPLAYED:
            bench.settle()
            _once(bench, far, cache, found[which], wanted)
            recorded = keep_starts(cache) and recorded
    note = "" if recorded else "no start was recorded: this is another first time"
    for which, one in found.items():
        said = note if which else ""
        share = bench.report.raw("B3", f"share of the link{which}", "", one.shares)
        fetched = bench.report.raw("B3", f"bytes fetched ÷ bytes touched{which}", "", one.fetched)
        what = f"cold, tensors at random, mmap{which}"
        bench.report.add(
            Result("B3", f"{what}: share of the link", share, goal=Goal("≥", 0.90), note=said),
            Result("B3", f"{what}: bytes fetched ÷ touched", fetched, goal=Goal("≤", 1.15), note=said),
        )
        bench.peaks[f"B3{which}"] = one.peaks
    bench.fresh("cache")


def half_of_tensors(model: Model) -> list[tuple[int, int]]:
    """Where they are, in the order they are touched; the same in each run."""
    all_of_them = [(tensor.off, tensor.size) for tensor in tensors_of(model)]
    return random.Random(7).sample(all_of_them, len(all_of_them) // 2)


def _once(bench: Bench, far: Server, cache: Path, into: Measured, wanted: dict[str, object]) -> None:
    spans = half_of_tensors(bench.tensors)
    touched = sum(size for _, size in spans)
    far.mark()
    with mounts.fusefs(bench.mnt, cache, [far.source(bench.tensors)]) as mount:
        path = mount.folder / bench.tensors.file
        seconds = read("mapped", path=path, spans=spans)["seconds"]
        check_equal(read("spans_sha256", path=path, spans=spans), wanted, "B3")
        into.peaks.append(mount.peak())
    into.shares.append(touched / seconds / PAYLOAD_RATE)
    into.fetched.append(sum(request.sent for request in far.content()) / touched)
