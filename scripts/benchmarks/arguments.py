"""Arguments: what `scripts/bench` may be asked for."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from scripts.benchmarks.ablation import POLICIES
from scripts.benchmarks.rows import ROWS

MIB = 1 << 20
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "": 1}
LEAST = 16 * MIB
ONE_CHUNK = 64 * MIB
"""Bytes of a blob that has no chunk list, for all of it is one chunk."""


def room(args: argparse.Namespace) -> int:
    """Times the size that a run needs: two models, the longest row's caches, what is sparse, and what peers keep."""
    return 8 if args.against else 7


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


def _policies(text: str) -> tuple[str, ...]:
    named = tuple(text.split(","))
    if unknown := [name for name in named if name not in POLICIES]:
        raise argparse.ArgumentTypeError(f"no such policy: {', '.join(unknown)}; there are {', '.join(POLICIES)}")
    return named


def parse() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure fusefs against its peers: a table of figures, goals and verdicts."
    )
    parser.add_argument("--size", type=_size, help="of each model file, for example 1GiB (2GiB; 80MiB with --quick)")
    parser.add_argument("--runs", type=int, help="measurements of each contender (5; 1 with --quick)")
    parser.add_argument("--only", type=_rows, default=frozenset(ROWS), metavar="B1,B4", help="these rows alone")
    parser.add_argument("--quick", action="store_true", help="a smoke test: the figures mean nothing")
    parser.add_argument(
        "--floors", action="store_true", help="measure the parts of a cold read, and where its time goes"
    )
    parser.add_argument("--only-floors", action="store_true", help="and no rows")
    parser.add_argument(
        "--without", type=_policies, default=(), metavar="POLICIES", help=f"measure without {', '.join(POLICIES)}"
    )
    parser.add_argument(
        "--counters",
        nargs="?",
        const="",
        metavar="PATTERN",
        help="measure no time: count what each access pattern costs whose name has PATTERN in it, with all policies "
        "and without each of --without",
    )
    parser.add_argument(
        "--cores",
        type=int,
        metavar="N",
        help="give fusefs, its readers and the server N cores together, as taskset does",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="measure the fusefs of another checkout, too, by turns with this one, and print what changed",
    )
    parser.add_argument("--search", action="store_true", help="look for better flags of rclone, and measure no rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument(
        "--from-json",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="measure nothing, take the figures from there: of several files, a row from the last that has it",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there as Markdown")
    parser.add_argument(
        "--readme",
        action="store_true",
        help="put the tables into README.md and fusefs/docs, and with --plots DIR the pictures",
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write pictures of each access pattern there")
    parser.add_argument("--only-plots", action="store_true", help="measure nothing, only make the pictures")
    parser.add_argument("--dir", type=Path, help="where to work: a disk with room for 7 times the size")
    parser.add_argument("--keep", action="store_true", help="leave the working folder behind")
    args = parser.parse_args()
    _complete(args)
    if reason := _why_not(args):
        parser.error(reason)
    return args


def _complete(args: argparse.Namespace) -> None:
    """Give a value to what was not said."""
    args.size = args.size or (80 * MIB if args.quick else 2048 * MIB)
    args.runs = args.runs or (1 if args.quick else 5)
    args.dir = (args.dir or Path(tempfile.gettempdir())).resolve()
    args.against = args.against.resolve() if args.against else None
    args.floors = args.floors or args.only_floors


def _why_not(args: argparse.Namespace) -> str:
    """Why this cannot be measured; empty when it can."""
    if args.size < LEAST:
        means = f"figures mean something from more than {ONE_CHUNK // MIB}MiB on"
        return f"--size must be {LEAST // MIB}MiB or more; {means}"
    cores = len(os.sched_getaffinity(0))
    if args.cores is not None and not 1 <= args.cores <= cores:
        return f"--cores must be 1 to {cores}, as many as there are"
    if args.against and not (args.against / "fusefs/__init__.py").is_file():
        return f"{args.against} is no checkout of fusefs: it has no fusefs/__init__.py"
    if args.against and (args.readme or args.plots or args.floors or args.counters is not None or args.search):
        return "--against measures rows, and nothing else: leave out the other options"
    if args.only_plots and not args.plots:
        return "--only-plots needs --plots DIR"
    free, needed = shutil.disk_usage(args.dir).free, room(args) * args.size
    if not args.from_json and free < needed:
        return f"{args.dir} has {free / MIB:,.0f} MiB left, {needed / MIB:,.0f} are needed: see --dir"
    return ""
