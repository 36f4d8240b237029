"""Warm reads after a remount: from disk (B7a), from memory (B7b, B7d), as links (B7c), again (B8), at random (B9)."""

from __future__ import annotations

import contextlib
import random
from functools import partial
from typing import TYPE_CHECKING

from scripts.benchmarks import juicefs, machine, rclone
from scripts.benchmarks.bench import Bench, Sample, WrongContent, check_equal, check_file, percentile, read
from scripts.benchmarks.kernelwindow import read_ahead_kb
from scripts.benchmarks.results import Goal, Result
from scripts.benchmarks.stage import CommandFailed
from scripts.benchmarks.warm import CEILING_KIB, FUSEFS, PAGE, WAYS, Warm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripts.benchmarks.warm import Way

TOUCHES = 2000
PAIRS = 4
"""For each run that was asked for."""


def from_disk(bench: Bench) -> None:
    """B7a."""
    warm = Warm(bench)
    copy = bench.big.plain
    bench.report.raw("B7a", "pieces of the file on disk", "", [machine.extents(warm.blob)])
    bench.report.raw("B7a", "pieces of a copy that was written in order", "", [machine.extents(copy)])
    contenders: dict[str, Callable[[], Sample]] = {}
    for what, operation in WAYS:
        contenders[f"fusefs, {what}"] = partial(warm.sample, warm.fusefs, operation, on_disk=True)
        contenders[f"plain, {what}"] = partial(warm.sample, warm.plain, operation, on_disk=True)
        contenders[f"plain copy written in order, {what}"] = partial(warm.sample, warm.copy, operation, on_disk=True)
    samples = bench.take_turns("B7a", contenders, settle=False)
    warm.rates("B7a", samples)
    for what, goal in (("in order", 0.9), ("mmap", 0.8)):
        words = f"warm, from disk, {what}: throughput ÷ plain file"
        warm.faster("B7a", words, samples, f"fusefs, {what}", f"plain, {what}", Goal("≥", goal))


def from_memory(bench: Bench) -> None:
    """B7b."""
    warm = Warm(bench)
    with warm.fusefs() as path:
        window = read_ahead_kb(str(path.parent))
        check_file(path, bench.big.digest)
    with contextlib.ExitStack() as stack:
        ours = warm.ours("B7b", "warm, from memory")
        rivals = _rivals(warm, stack) if bench.rivals else {}
        bare = {
            "bare": partial(warm.bare, CEILING_KIB),
            "bare, fusefs' window": partial(warm.bare, window),
        }
        contenders: dict[str, Callable[[], Sample]] = {
            f"{name}, {what}": partial(warm.sample, way, operation)
            for what, operation in WAYS
            for name, way in (ours | bare | {"plain": warm.plain} | rivals).items()
        }
        samples = bench.take_turns("B7b", contenders, settle=False)
    warm.rates("B7b", samples)
    for what, _ in WAYS:
        for name in ours:
            words = f"warm, from memory, {what}{name.removeprefix(FUSEFS)}: throughput ÷ "
            mine = f"{name}, {what}"
            warm.faster("B7b", words + "bare pread server", samples, mine, f"bare, {what}", Goal("≥", 0.9))
        words = f"warm, from memory, {what}: throughput ÷ "
        for name in rivals:
            goal = Goal("≥", 5) if name == "rclone" else None
            warm.faster("B7b", words + name, samples, f"fusefs, {what}", f"{name}, {what}", goal)


def _rivals(warm: Warm, stack: contextlib.ExitStack) -> dict[str, Way]:
    """Other mounts whose caches hold the file; says in the table which are not there."""
    bench, found = warm.bench, dict[str, "Way"]()
    reasons: dict[str, str] = {}
    if rclone.program():
        found["rclone"] = warm.rclone
    else:
        reasons["rclone"] = "rclone is not there"
    if why_not := juicefs.why_not():
        reasons["JuiceFS"] = why_not
    else:
        try:
            stack.enter_context(bench.volume.served(bench.mnt, bench.big.plain))
        except (CommandFailed, OSError) as exc:
            reasons["JuiceFS"] = f"could not do it: {exc}"
        else:
            found["JuiceFS"] = warm.juicefs
    for name, reason in reasons.items():
        bench.report.add(Result("B7b", f"warm, from memory: throughput ÷ {name}", note=reason))
    for way in found.values():
        with way() as path:
            check_file(path, bench.big.digest)
    return found


def as_links(bench: Bench) -> None:
    """B7c: a link leads to the very file that it is compared with, so both are read below one mount, in pairs.

    The pages are the same too, and stay where they are: what differs is the way to the file.  Who reads first changes
    from pair to pair, and there are many pairs, for a read takes less time than what else a machine does.
    """
    warm = Warm(bench)
    with warm.fusefs("--sealed", "symlink") as link:
        if not link.is_symlink():
            raise WrongContent(f"B7c: {link} is no symbolic link")
        for what, operation in WAYS:
            machine.warm(warm.blob)
            found: dict[Path, list[Sample]] = {link: [], warm.blob: []}
            for pair in range(PAIRS * bench.runs + 1):
                for path in (link, warm.blob) if pair % 2 else (warm.blob, link):
                    sample = Sample(read(operation, path=path)["seconds"])
                    found[path] += [sample] if pair else []
            samples = {f"link, {what}": found[link], f"plain, {what}": found[warm.blob]}
            warm.rates("B7c", samples)
            words = f"warm, sealed as links, {what}: throughput ÷ plain file"
            warm.faster("B7c", words, samples, f"link, {what}", f"plain, {what}", Goal("≥", 0.98))


def kept(bench: Bench) -> None:
    """B7d: pages held twice; B8: a second read of the same mount."""
    warm = Warm(bench)
    copies: dict[str, list[float]] = {}
    size = bench.big.size

    def once(way: Way) -> float:
        with way() as path:
            machine.forget(warm.blob)
            read("order", path=path)
            return machine.copies(path, warm.blob) / size

    def again(way: Way, pages: list[float] | None = None) -> Sample:
        if pages is not None:
            pages.append(once(way))  # in a mount of its own: to count the pages drops some
        with way() as path:
            machine.forget(warm.blob)
            read("order", path=path)
            return Sample(read("order", path=path)["seconds"])

    ours = warm.ours("B8", "warm, pages kept")
    contenders: dict[str, Callable[[], Sample]] = {
        f"{name}, pages kept": partial(again, way, copies.setdefault(name, [])) for name, way in ours.items()
    }
    contenders["bare, pages kept"] = partial(again, partial(warm.bare, CEILING_KIB))
    contenders["plain"] = partial(warm.sample, warm.plain, "order")
    samples = bench.take_turns("B8", contenders, settle=False)
    warm.rates("B8", samples)
    for name in ours:
        how = name.removeprefix(FUSEFS)
        pages = bench.report.raw("B7d", f"pages in memory ÷ size after one warm read{how}", "", copies[name])
        words = f"warm read once{how}: MiB of page cache per MiB of file"
        bench.report.add(Result("B7d", words, pages, goal=Goal("≤", 1.2)))
        words = f"warm, pages kept{how}: throughput ÷ plain file"
        warm.faster("B8", words, samples, f"{name}, pages kept", "plain", Goal("≥", 0.95))


def at_random(bench: Bench) -> None:
    """B9: pages at random offsets, by pread and through a mapping."""
    warm = Warm(bench)
    ours = warm.ours("B9", "warm random 4 KiB")
    for what, operation in (("pread", "single"), ("mmap fault", "fault")):
        figures = touch(warm, "B9", what, operation, ours)
        for name in ours:
            p50, p99 = figures[name]
            words = f"warm random 4 KiB {what}{name.removeprefix(FUSEFS)}"
            bench.report.add(
                Result("B9", f"{words}: p50", p50, "µs", Goal("≤", 60)), Result("B9", f"{words}: p99", p99, "µs")
            )


def touch(warm: Warm, row: str, what: str, operation: str, ways: dict[str, Way]) -> dict[str, tuple[float, float]]:
    """Touch pages in a random order, in a new mount each time; p50 and p99 of each way and of the plain file, in µs.

    The names are those of `ways`, and `plain`.
    """
    bench = warm.bench
    offs = [off * PAGE for off in random.Random(9).sample(range(bench.big.size // PAGE), _touches(bench))]
    wanted = None
    each: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in (*ways, "plain")}
    for _ in range(bench.runs):
        for name, way in (*ways.items(), ("plain", warm.plain)):
            machine.warm(warm.blob)
            with way() as path:
                found = read(operation, path=path, offs=offs)
            wanted = wanted or read(operation, path=bench.big.plain, offs=offs)["sha256"]
            check_equal(found["sha256"], wanted, row)
            for figures, part in zip(each[name], (0.5, 0.99), strict=True):
                figures.append(percentile(found["each"], part) * 1e6)
    medians = {}
    for name, (halves, most) in each.items():
        title = "plain file" if name == "plain" else name
        medians[name] = (
            bench.report.raw(row, f"{what}, {title}, p50", "µs", halves),
            bench.report.raw(row, f"{what}, {title}, p99", "µs", most),
        )
    return medians


def _touches(bench: Bench) -> int:
    return min(TOUCHES, bench.big.size // PAGE)
