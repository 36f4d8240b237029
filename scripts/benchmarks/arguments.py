"""Arguments: what `scripts/bench` may be asked for."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from scripts.benchmarks.ablation import POLICIES

MIB = 1 << 20
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "": 1}
ROWS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7a", "B7b", "B7c", "B7d", "B8", "B9", "B10", "B11", "B12", "B13")
ROOM = 6
"""Times the size: two models, the longest row's caches, and what is sparse."""


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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="measure nothing, take the figures from there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there as Markdown")
    parser.add_argument(
        "--readme",
        action="store_true",
        help="put it into README.md and fusefs/docs, and its pictures, with --plots DIR",
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write pictures of each access pattern there")
    parser.add_argument("--only-plots", action="store_true", help="measure nothing, only make the pictures")
    parser.add_argument("--dir", type=Path, help=f"where to work: a disk with room for {ROOM} times the size")
    parser.add_argument("--keep", action="store_true", help="leave the working folder behind")
    args = parser.parse_args()
    args.size = args.size or (80 * MIB if args.quick else 2048 * MIB)
    args.runs = args.runs or (1 if args.quick else 5)
    args.dir = (args.dir or Path(tempfile.gettempdir())).resolve()
    args.floors = args.floors or args.only_floors
    if args.size <= 64 * MIB:
        parser.error("--size must be more than 64MiB: smaller blobs are one chunk")
    if args.only_plots and not args.plots:
        parser.error("--only-plots needs --plots DIR")
    if not args.from_json and (free := shutil.disk_usage(args.dir).free) < ROOM * args.size:
        parser.error(f"{args.dir} has {free / MIB:,.0f} MiB left, {ROOM * args.size / MIB:,.0f} are needed: see --dir")
    return args
