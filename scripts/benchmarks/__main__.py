"""The command line of `scripts/bench`: prepare, measure row by row, print."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from scripts.benchmarks import (
    ablation,
    arguments,
    beside,
    cold,
    content,
    floors,
    llama,
    machine,
    markdown,
    mounts,
    patterns,
    perf,
    plots,
    scale,
    servers,
    shaped,
    tensors,
    warm,
)
from scripts.benchmarks.bench import Bench, WrongContent
from scripts.benchmarks.results import Goal, Report, Result
from scripts.benchmarks.show import show
from scripts.benchmarks.stage import CommandFailed, stage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from scripts.benchmarks.servers import Server

MIB = 1 << 20
MEMORY = 150 + 256
"""MiB: what the daemon may need itself, and the memory budget it has by default."""


def _needs_link(name: str, row: Callable[[Bench, Server], None]) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        if bench.far is None:
            bench.report.add(Result(name, "on the shaped link", note=bench.why_not_far))
        else:
            row(bench, bench.far)

    return run


def plan(args: argparse.Namespace) -> list[tuple[frozenset[str], Callable[[Bench], None]]]:
    """The rows that each function measures, in the order of the table."""
    chunks, models = (1 << 10, 20) if args.quick else (1 << 20, 1000)
    return [
        (frozenset({"B1", "B11", "B13"}), cold.in_order),
        (frozenset({"B2"}), _needs_link("B2", shaped.in_order)),
        (frozenset({"B3", "B11"}), _needs_link("B3", tensors.random_tensors)),
        (frozenset({"B3"}), _needs_link("B3", partial(llama.load, quick=args.quick))),
        (frozenset({"B4"}), _needs_link("B4", shaped.random_page)),
        (frozenset({"B5"}), _needs_link("B5", shaped.header_only)),
        (frozenset({"B6", "B11"}), cold.together),
        (frozenset({"B7a"}), warm.from_disk),
        (frozenset({"B7b"}), warm.from_memory),
        (frozenset({"B7c"}), warm.as_links),
        (frozenset({"B7d", "B8"}), warm.kept),
        (frozenset({"B9"}), warm.at_random),
        (frozenset({"B10"}), _needs_link("B10", beside.beside)),
        (frozenset({"B12"}), partial(scale.scale, chunks=chunks, models=models)),
    ]


def measure(args: argparse.Namespace, bench: Bench) -> None:
    """All rows that were asked for; one that fails does not end the others."""
    for rows, row in plan(args):
        if rows & args.only:
            names = ", ".join(sorted(rows & args.only))
            _attempt(bench, names, partial(row, bench))
    warm.forget(bench)
    if "B11" in args.only:
        for name, peaks in sorted(bench.peaks.items()):
            bench.report.raw("B11", f"peak memory of the daemon in {name}", "MiB", [peak / MIB for peak in peaks])
            words = f"largest resident set of the daemon in {name}"
            bench.report.add(Result("B11", words, max(peaks) / MIB, "MiB", Goal("≤", MEMORY)))


def _attempt(bench: Bench, names: str, action: Callable[[], object]) -> None:
    start = time.monotonic()
    _say(f"{names} …")
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
    _say(f"{names} took {time.monotonic() - start:.0f} s")


def _say(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)


def _link(folder: Path, www: Path, stack: contextlib.ExitStack) -> tuple[Server | None, str]:
    """The server behind the shaped link, or why there is none."""
    if not machine.is_root():
        return None, "only root may shape a link"
    try:
        return stack.enter_context(servers.shaped(folder, www)), ""
    except (CommandFailed, OSError) as exc:
        _say(f"no shaped link: {exc}")
        return None, f"no link could be shaped: {exc}"


def _run(args: argparse.Namespace, report: Report) -> None:
    """Measure and draw what was asked for."""
    with stage(args.dir, keep=args.keep) as folder, contextlib.ExitStack() as stack:
        os.environ.update({f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("STATE", "CACHE", "CONFIG")})
        if not args.quick and args.counters is None:
            _say("touching memory once …")
            machine.warm_memory(6 * args.size)
        _say("making models …")
        www = folder / "www"
        big = content.make_model(www, "big", "model.gguf", args.size)
        half = content.make_model(www, "tensors", "model.safetensors", args.size)
        near = stack.enter_context(servers.nginx(folder, www))
        far, why_not = (None, "nothing is timed") if args.counters is not None else _link(folder, www, stack)
        if why_not:
            report.setting["shaped link"] = f"none: {why_not}"
        bench = Bench(folder, report, args.runs, big, half, near, far, why_not)
        if args.counters is not None:
            _count(args, bench, stack)
            return
        if not args.only_plots and not args.only_floors:
            measure(args, bench)
        if args.floors and not args.only_plots:
            _attempt(bench, "floors", partial(floors.measure, bench, quick=args.quick))
            _attempt(bench, "perf", lambda: _say_why("where the daemon was", perf.sample(bench)))
        if args.plots:
            _attempt(
                bench, "pictures", lambda: _say_why("pictures", plots.draw_all(bench, args.plots, quick=args.quick))
            )


def _count(args: argparse.Namespace, bench: Bench, stack: contextlib.ExitStack) -> None:
    late = stack.enter_context(servers.late(bench.folder, bench.folder / "www"))
    model = llama.make(bench, quick=args.quick) if find_spec("llama_cpp") else None
    known = (*patterns.synthetic(bench.big, bench.tensors), *patterns.programs(bench.tensors, model))
    for pattern in (one for one in known if args.counters in one.name):
        server = late if pattern.program else bench.near
        _attempt(
            bench, pattern.name, partial(ablation.count, bench, server, pattern, args.without or ablation.POLICIES)
        )


def _say_why(what: str, reason: str) -> None:
    if reason:
        _say(f"no {what}: {reason}")


def _write(args: argparse.Namespace, report: Report) -> None:
    """All that is left of a run."""
    if report.results or report.floors:
        show(report)
    counted = "\n".join(ablation.table(report)) if args.counters is not None else ""
    if counted:
        print(counted)
    if args.json:
        args.json.write_text(json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")
    if args.markdown:
        args.markdown.write_text(f"{counted}\n" if counted else markdown.render(report))
    if args.readme and not args.only_plots:
        markdown.put(markdown.PAGE, markdown.render(report))
        markdown.put(markdown.README, markdown.short(report))
    if args.readme and args.plots:
        for path in plots.for_docs(args.plots):
            _say(f"{markdown.PAGE.name} shows {path.name}, which is not in {path.parent}")


def main() -> int:
    """Exit status: 1 when a measurement failed, not when a goal was missed."""
    args = arguments.parse()
    if args.from_json:
        _write(args, Report.from_dict(json.loads(args.from_json.read_text())))
        return 0
    machine.open_many()
    for name, loss in machine.missing().items():
        _say(f"{name} is not installed: {loss}")
    if not machine.is_root():
        _say("not root: no shaped link (B2, B3, B4, B5, B10), and only the files' own pages are dropped in B7a and B7d")
    setting = {
        "file size": f"{args.size / MIB:g} MiB",
        "chunk size": f"{content.CHUNK // MIB} MiB",
        "runs": str(args.runs),
        "working folder": str(args.dir),
        "server": "nginx" if servers.has_nginx() else "our own, in Python, for there is no nginx",
        "rclone's best flags": " ".join(mounts.rclone_best()) or "none",
        "shaped link": f"{servers.RATE * 8 / 1e9:g} Gbit/s, {servers.DELAY * 1e3:g} ms, MTU {servers.MTU}: at most "
        f"{servers.PAYLOAD_RATE / 1e6:.1f} MB/s of content",
    }
    if args.without and args.counters is None:
        os.environ[ablation.SWITCH] = ",".join(args.without)
        setting["without"] = ", ".join(args.without)
    if args.quick:
        setting["quick"] = "these figures say that it runs, and nothing else"
    report = Report(machine.describe(), setting)
    _run(args, report)
    _write(args, report)
    return int(any(result.failed for result in report.results))


if __name__ == "__main__":
    sys.exit(main())
