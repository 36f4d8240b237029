"""The command line of `scripts/bench`: prepare, measure row by row, print."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks import cold, content, machine, mounts, plots, scale, servers, shaped, warm
from scripts.benchmarks.bench import Bench, WrongContent
from scripts.benchmarks.results import Goal, Report, Result, show
from scripts.benchmarks.stage import CommandFailed, stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.benchmarks.servers import Server

MIB = 1 << 20
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "": 1}
ROWS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7a", "B7b", "B7c", "B7d", "B8", "B9", "B10", "B11", "B12", "B13")
MEMORY = 150 + 256
"""MiB: what the daemon may need itself, and the memory budget it has by default."""


def _size(text: str) -> int:
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    raise ValueError(text)


def _rows(text: str) -> frozenset[str]:
    wanted = text.split(",")
    found = {row for row in ROWS for word in wanted if row == word or row.rstrip("abcd") == word}
    if unknown := [word for word in wanted if not any(row.rstrip("abcd") == word or row == word for row in ROWS)]:
        raise argparse.ArgumentTypeError(f"no such row: {', '.join(unknown)}")
    return frozenset(found)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure fusefs against its peers: a table of figures, goals and verdicts."
    )
    parser.add_argument("--size", type=_size, help="of each model file, for example 1GiB (2GiB; 80MiB with --quick)")
    parser.add_argument("--runs", type=int, help="measurements of each contender (5; 1 with --quick)")
    parser.add_argument("--only", type=_rows, default=frozenset(ROWS), metavar="B1,B4", help="these rows alone")
    parser.add_argument("--quick", action="store_true", help="a smoke test: the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write pictures of each access pattern there")
    parser.add_argument("--only-plots", action="store_true", help="measure nothing, only make the pictures")
    parser.add_argument("--dir", type=Path, help="where to work: a disk with room for five times the size")
    parser.add_argument("--keep", action="store_true", help="leave the working folder behind")
    args = parser.parse_args()
    args.size = args.size or (80 * MIB if args.quick else 2048 * MIB)
    args.runs = args.runs or (1 if args.quick else 5)
    args.dir = (args.dir or Path(tempfile.gettempdir())).resolve()
    if args.size <= 64 * MIB:
        parser.error("--size must be more than 64MiB: smaller blobs are one chunk")
    return args


def _needs_link(name: str, row: Callable[[Bench, Server], None]) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        if bench.far is None:
            bench.report.add(Result(name, "on the shaped link", note="only root may shape a link"))
        else:
            row(bench, bench.far)

    return run


def plan(args: argparse.Namespace) -> list[tuple[frozenset[str], Callable[[Bench], None]]]:
    """The rows that each function measures, in the order of the table."""
    chunks, models = (1 << 10, 20) if args.quick else (1 << 20, 1000)
    return [
        (frozenset({"B1", "B11", "B13"}), cold.in_order),
        (frozenset({"B2"}), _needs_link("B2", shaped.in_order)),
        (frozenset({"B3", "B11"}), _needs_link("B3", shaped.random_tensors)),
        (frozenset({"B4"}), _needs_link("B4", shaped.random_page)),
        (frozenset({"B5"}), _needs_link("B5", shaped.header_only)),
        (frozenset({"B6", "B11"}), cold.together),
        (frozenset({"B7a"}), warm.from_disk),
        (frozenset({"B7b", "B7c"}), warm.from_memory),
        (frozenset({"B7d", "B8"}), warm.kept),
        (frozenset({"B9"}), warm.at_random),
        (frozenset({"B10"}), _needs_link("B10", shaped.beside)),
        (frozenset({"B12"}), lambda bench: scale.scale(bench, chunks=chunks, models=models)),
    ]


def measure(args: argparse.Namespace, bench: Bench) -> None:
    """All rows that were asked for; one that fails does not end the others."""
    for rows, row in plan(args):
        if not rows & args.only:
            continue
        start = time.monotonic()
        names = ", ".join(sorted(rows & args.only))
        print(f"bench: {names} …", file=sys.stderr, flush=True)
        try:
            row(bench)
        except (CommandFailed, WrongContent, OSError, KeyError, ValueError, StopIteration) as exc:
            bench.report.add(Result(names, "could not be measured", note=f"{type(exc).__name__}: {exc}", failed=True))
        print(f"bench: {names} took {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    warm.forget(bench)
    if "B11" in args.only:
        for name, peaks in sorted(bench.peaks.items()):
            bench.report.raw("B11", f"peak memory of the daemon in {name}", "MiB", [peak / MIB for peak in peaks])
            words = f"largest resident set of the daemon in {name}"
            bench.report.add(Result("B11", words, max(peaks) / MIB, "MiB", Goal("≤", MEMORY)))


def main() -> int:
    """Exit status: 1 when a measurement failed, not when a goal was missed."""
    args = arguments()
    machine.open_many()
    setting = {
        "file size": f"{args.size / MIB:g} MiB",
        "chunk size": f"{content.CHUNK // MIB} MiB",
        "runs": str(args.runs),
        "working folder": str(args.dir),
        "rclone's best flags": " ".join(mounts.rclone_best()) or "none",
        "shaped link": f"{servers.RATE * 8 / 1e9:g} Gbit/s, {servers.DELAY * 1e3:g} ms, MTU {servers.MTU}: at most "
        f"{servers.PAYLOAD_RATE / 1e6:.1f} MB/s of content",
    }
    report = Report(machine.describe(), setting)
    with stage(args.dir, keep=args.keep) as folder, contextlib.ExitStack() as stack:
        os.environ.update({f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("STATE", "CACHE", "CONFIG")})
        if not args.quick:
            print("bench: touching memory once …", file=sys.stderr, flush=True)
            machine.warm_memory(6 * args.size)
        print("bench: making models …", file=sys.stderr, flush=True)
        www = folder / "www"
        big = content.make_model(www, "big", "model.gguf", args.size)
        tensors = content.make_model(www, "tensors", "model.safetensors", args.size)
        near = stack.enter_context(servers.nginx(folder, www))
        far = stack.enter_context(servers.shaped(folder, www)) if machine.is_root() else None
        bench = Bench(folder, report, args.runs, big, tensors, near, far)
        if not args.only_plots:
            measure(args, bench)
            if args.quick:
                print("bench: --quick: these figures say that it runs, and nothing else", file=sys.stderr)
            show(report)
        if args.json:
            args.json.write_text(json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")
        if args.plots:
            plots.draw_all(bench, args.plots)
    return int(any(result.failed for result in report.results))


if __name__ == "__main__":
    sys.exit(main())
