"""The command line of `scripts/bench`: prepare, measure what was asked for, print."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from scripts.benchmarks import (
    ablation,
    against,
    arguments,
    content,
    floors,
    llama,
    machine,
    markdown,
    patterns,
    perf,
    plots,
    product,
    rclone,
    search,
    servers,
)
from scripts.benchmarks.bench import Bench
from scripts.benchmarks.results import OtherSetting, Report
from scripts.benchmarks.rows import attempt, measure, say
from scripts.benchmarks.show import show
from scripts.benchmarks.stage import TOP, CommandFailed, stage

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from scripts.benchmarks.content import Model
    from scripts.benchmarks.servers import Server

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Scene:
    """What is there before anything is measured: models, and servers that have them."""

    folder: Path
    www: Path
    big: Model
    tensors: Model
    near: Server
    far: Server | None
    why_not_far: str

    def bench(self, folder: Path, report: Report, runs: int) -> Bench:
        """A bench that works in a folder of its own."""
        folder.mkdir(exist_ok=True)
        return Bench(folder, self.www, report, runs, self.big, self.tensors, self.near, self.far, self.why_not_far)


def _link(folder: Path, www: Path, stack: contextlib.ExitStack) -> tuple[Server | None, str]:
    """The server behind the shaped link, or why there is none."""
    if not machine.is_root():
        return None, "only root may shape a link"
    try:
        return stack.enter_context(servers.shaped(folder, www)), ""
    except (CommandFailed, OSError) as exc:
        say(f"no shaped link: {exc}")
        return None, f"no link could be shaped: {exc}"


def _scene(args: argparse.Namespace, stack: contextlib.ExitStack) -> Scene:
    folder = stack.enter_context(stage(args.dir, keep=args.keep))
    os.environ.update({f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("STATE", "CACHE", "CONFIG")})
    if not args.quick and args.counters is None:
        say("touching memory once …")
        machine.warm_memory(arguments.room(args) * args.size)
    say("making models …")
    www = folder / "www"
    big = content.make_model(www, "big", "model.gguf", args.size)
    tensors = content.make_model(www, "tensors", "model.safetensors", args.size)
    near = stack.enter_context(servers.nginx(folder, www))
    far, why_not = (None, "nothing is timed") if args.counters is not None else _link(folder, www, stack)
    return Scene(folder, www, big, tensors, near, far, why_not)


def _run(args: argparse.Namespace, report: Report) -> None:
    """Measure and draw what was asked for."""
    with contextlib.ExitStack() as stack:
        scene = _scene(args, stack)
        if scene.why_not_far:
            report.setting["shaped link"] = f"none: {scene.why_not_far}"
        bench = scene.bench(scene.folder, report, args.runs)
        if args.counters is not None:
            _count(args, bench, stack)
            return
        if args.search:
            attempt(bench, "search", partial(search.search, bench))
            return
        if not args.only_plots and not args.only_floors:
            measure(args, bench)
        if args.floors and not args.only_plots:
            attempt(bench, "floors", partial(floors.measure, bench, quick=args.quick))
            attempt(bench, "perf", lambda: _say_why("where the daemon was", perf.sample(bench)))
        if args.plots:
            attempt(
                bench, "pictures", lambda: _say_why("pictures", plots.draw_all(bench, args.plots, quick=args.quick))
            )


def _against(args: argparse.Namespace) -> int:
    """Measure this checkout and another one by turns."""
    with contextlib.ExitStack() as stack:
        scene = _scene(args, stack)
        more: dict[str, Model] = {}
        sides = []
        for name, checkout in (("this", TOP), (args.against.name, args.against)):
            bench = scene.bench(scene.folder / f"of-{name}", Report({}, {}), 1)
            bench.rivals = bench.warm_up = False
            bench.more = more
            sides.append(against.Side(product.checkout(name, checkout, bench.folder), bench))
        against.by_turns(args, sides)
    found = list(against.changes(*sides))
    against.show(found, *sides)
    if args.markdown:
        args.markdown.write_text(against.markdown(found, *sides))
    if args.json:
        args.json.write_text(json.dumps(against.as_dict(found, *sides), indent=1, ensure_ascii=False) + "\n")
    return int(any(side.failed for side in sides))


def _count(args: argparse.Namespace, bench: Bench, stack: contextlib.ExitStack) -> None:
    late = stack.enter_context(servers.late(bench.folder, bench.www))
    model = llama.make(bench, quick=args.quick) if find_spec("llama_cpp") else None
    known = (*patterns.synthetic(bench.big, bench.tensors), *patterns.programs(bench.tensors, model))
    for pattern in (one for one in known if args.counters in one.name):
        server = late if pattern.program else bench.near
        attempt(bench, pattern.name, partial(ablation.count, bench, server, pattern, args.without or ablation.POLICIES))


def _say_why(what: str, reason: str) -> None:
    if reason:
        say(f"no {what}: {reason}")


def _write(args: argparse.Namespace, report: Report) -> None:
    """All that is left of a run."""
    if report.results or report.floors:
        show(report)
    table = "\n".join(ablation.table(report)) if args.counters is not None else ""
    if args.search:
        table = search.table(report)
    if table:
        print(table)
    if args.json:
        args.json.write_text(json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n")
    if args.markdown:
        args.markdown.write_text(f"{table}\n" if table else markdown.render(report))
    if args.readme:
        _into_pages(args, report, table)


def _into_pages(args: argparse.Namespace, report: Report, table: str) -> None:
    if args.search:
        markdown.put(markdown.PAGE, table, name="rclone")
        return
    if not args.only_plots:
        markdown.into_pages(report)
    if args.plots:
        for path in plots.for_docs(args.plots):
            say(f"{markdown.PAGE.name} shows {path.name}, which is not in {path.parent}")


def _setting(args: argparse.Namespace) -> dict[str, str]:
    setting = {
        "file size": f"{args.size / MIB:g} MiB",
        "chunk size": f"{content.CHUNK // MIB} MiB",
        "runs": str(args.runs),
        "working folder": str(args.dir),
        "server": "nginx" if servers.has_nginx() else "our own, in Python, for there is no nginx",
        **{f"rclone's best flags, {mode}": " ".join(rclone.words(flags)) for mode, flags in rclone.BEST.items()},
        "shaped link": f"{servers.RATE * 8 / 1e9:g} Gbit/s, {servers.DELAY * 1e3:g} ms, MTU {servers.MTU}: at most "
        f"{servers.PAYLOAD_RATE / 1e6:.1f} MB/s of content",
    }
    if args.cores:
        setting["cores"] = f"{args.cores}, for fusefs, its readers and the server together"
    if args.without and args.counters is None:
        setting["without"] = ", ".join(args.without)
    if args.quick or args.size <= arguments.ONE_CHUNK:
        setting["quick"] = "these figures say that it runs, and nothing else"
    return setting


def _read(paths: list[Path]) -> Report:
    """One report from files of several runs.

    Raises:
        OtherSetting: they were not made alike.
    """
    first, *more = (Report.from_dict(json.loads(path.read_text())) for path in paths)
    for report in more:
        first.take(report)
    return first


def main() -> int:
    """Exit status: 1 when a measurement failed, not when a goal was missed."""
    args = arguments.parse()
    if args.from_json:
        try:
            _write(args, _read(args.from_json))
        except OtherSetting as exc:
            say(str(exc))
            return 2
        return 0
    machine.open_many()
    if args.cores:
        machine.use_cores(args.cores)
    for name, loss in machine.missing().items():
        say(f"{name} is not installed: {loss}")
    if not machine.is_root():
        say("not root: no shaped link (B2, B3, B4, B5, B10, B15), and only the files' own pages are dropped (B7a, B7d)")
    if args.without and args.counters is None:
        os.environ[ablation.SWITCH] = ",".join(args.without)
    if args.against:
        return _against(args)
    report = Report(machine.describe(), _setting(args))
    _run(args, report)
    _write(args, report)
    return int(any(result.failed for result in report.results))


if __name__ == "__main__":
    sys.exit(main())
