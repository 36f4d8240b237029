"""Kinds of sources (B20): a cold read in order from each place that models lie in, against curl of the same bytes.

Each server has a speed of its own, so what two of them take is no comparison of two sources; what fusefs takes of what
curl takes is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.benchmarks import mounts
from scripts.benchmarks.bench import Bench, Sample, check_file, dd
from scripts.benchmarks.places import KINDS, Place
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.stage import CommandFailed, clear, run

if TYPE_CHECKING:
    from collections.abc import Callable

OURS, THEIRS = "fusefs mount", "curl"


def kinds(bench: Bench) -> None:
    """B20: one kind after the other, so that no server takes anything from another one's turn."""
    ratios: dict[str, float] = {}
    for kind, serving in KINDS.items():
        try:
            with serving(bench, bench.big) as place:
                ratios[kind] = _in_order(bench, kind, place)
        except LookupError as exc:
            bench.report.add(Result("B20", f"{kind}, cold, in order", note=str(exc)))
        except CommandFailed as exc:
            bench.report.add(Result("B20", f"{kind}, cold, in order", note=str(exc), failed=True))
    first, *others = KINDS
    for kind in others:
        if first in ratios and kind in ratios:
            words = f"{kind}, cold, in order: (time ÷ curl) ÷ that of {first}"
            bench.report.add(Result("B20", words, ratios[kind] / ratios[first], goal=Goal("≤", 1.1)))


def _in_order(bench: Bench, kind: str, place: Place) -> float:
    ours, theirs = f"{OURS}, {kind}", f"{THEIRS}, {kind}"
    contenders: dict[str, Callable[[], Sample]] = {
        ours: lambda: _fusefs(bench, place),
        theirs: lambda: _curl(bench, place),
    }
    samples = bench.take_turns("B20", contenders)
    bench.compare("B20", f"{kind}, cold, in order: time ÷ curl", samples, ours, theirs, None)
    return bench.median(samples, ours) / bench.median(samples, theirs)


def _fusefs(bench: Bench, place: Place) -> Sample:
    cache = bench.fresh("cache")
    with mounts.fusefs(bench.mnt, cache, [place.source]) as mount:
        before = mount.cpu()
        seconds, cpu = dd(mount.folder / place.file)
        cpu += mount.cpu() - before
        check_file(mount.folder / place.file, bench.big.digest)
    clear(cache)
    return Sample(seconds, cpu)


def _curl(bench: Bench, place: Place) -> Sample:
    out = bench.folder / "download"
    done = run(["curl", "-s", "-f", "-o", out, place.url])
    check_file(out, bench.big.digest)
    clear(out)
    return Sample(done.seconds, done.cpu)
