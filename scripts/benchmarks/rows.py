"""Rows: which function measures which, and all that were asked for in their order."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmarks import (
    beside,
    cold,
    firsttoken,
    hub,
    llama,
    passthrough,
    scale,
    shaped,
    smallfiles,
    tensors,
    tls,
    together,
    warm,
    warmreads,
)
from scripts.benchmarks.bench import WrongContent
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.stage import CommandFailed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from scripts.benchmarks.bench import Bench
    from scripts.benchmarks.servers import Server

    Row = Callable[[Bench], None]

MIB = 1 << 20
MEMORY = 150 + 256
"""MiB: what the daemon may need itself, and the memory budget it has by default."""

B11 = "B11"
"""The row that the others measure beside their own."""


def _needs_link(name: str, row: Callable[[Bench, Server], None]) -> Row:
    def run(bench: Bench) -> None:
        if bench.far is None:
            bench.report.add(Result(name, "on the shaped link", note=bench.why_not_far))
        else:
            row(bench, bench.far)

    return run


def plan(args: argparse.Namespace) -> list[tuple[frozenset[str], Row]]:
    """The rows that each function measures, in the order in which they are measured."""
    chunks, models = (1 << 10, 20) if args.quick else (1 << 20, 1000)
    return [
        (frozenset({"B1", "B11", "B13"}), cold.in_order),
        (frozenset({"B2"}), _needs_link("B2", shaped.in_order)),
        (frozenset({"B3", "B11"}), _needs_link("B3", tensors.random_tensors)),
        (frozenset({"B3"}), _needs_link("B3", partial(llama.load, quick=args.quick))),
        (frozenset({"B4"}), _needs_link("B4", shaped.random_page)),
        (frozenset({"B5"}), _needs_link("B5", shaped.header_only)),
        (frozenset({"B6", "B11"}), together.together),
        (frozenset({"B7a"}), warmreads.from_disk),
        (frozenset({"B7b"}), warmreads.from_memory),
        (frozenset({"B7c"}), warmreads.as_links),
        (frozenset({"B7d", "B8"}), warmreads.kept),
        (frozenset({"B9"}), warmreads.at_random),
        (frozenset({"B10"}), _needs_link("B10", beside.beside)),
        (frozenset({"B12"}), partial(scale.scale, chunks=chunks, models=models)),
        (frozenset({"B14"}), passthrough.as_plain),
        (frozenset({"B15"}), _needs_link("B15", partial(firsttoken.first_token, quick=args.quick))),
        (frozenset({"B16"}), passthrough.many),
        (frozenset({"B17"}), tls.in_order),
        (frozenset({"B18"}), smallfiles.small_files),
        (frozenset({"B19"}), hub.on_the_hub),
    ]


ROWS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7a", "B7b", "B7c", "B7d", "B8", "B9", *(f"B{n}" for n in range(10, 20)))
"""Their names, as they are asked for."""


def measure(args: argparse.Namespace, bench: Bench) -> None:
    """All rows that were asked for; one that fails does not end the others."""
    for rows, row in plan(args):
        if rows & args.only:
            attempt(bench, ", ".join(sorted(rows & args.only)), partial(row, bench))
    warm.forget(bench)
    if B11 in args.only:
        for name, peaks in sorted(bench.peaks.items()):
            bench.report.raw(B11, f"peak memory of the daemon in {name}", "MiB", [peak / MIB for peak in peaks])
            words = f"largest resident set of the daemon in {name}"
            bench.report.add(Result(B11, words, max(peaks) / MIB, "MiB", Goal("≤", MEMORY)))


def attempt(bench: Bench, names: str, action: Callable[[], object]) -> None:
    """Do it; what goes wrong becomes a line of the table."""
    start = time.monotonic()
    say(f"{names} …")
    try:
        action()
    except (
        CommandFailed,
        WrongContent,
        ImportError,
        OSError,
        LookupError,
        TypeError,
        ValueError,
        StopIteration,
    ) as exc:
        bench.report.add(Result(names, "could not be measured", note=f"{type(exc).__name__}: {exc}", failed=True))
    say(f"{names} took {time.monotonic() - start:.0f} s")


def say(words: str) -> None:
    """Tell the person who waits."""
    print(f"bench: {words}", file=sys.stderr, flush=True)
