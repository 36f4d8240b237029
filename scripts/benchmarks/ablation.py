"""Ablation: what each policy is worth, by switching it off (`scripts/bench --without`) and by counting.

The counts need no quiet machine.  A synthetic pattern reads its next piece when all that was asked for has come, so
that a policy that asks for the right bytes is told from one that does not, whatever the link.  Real programs wait for
nobody; their figures are medians.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from fusefs.daemon import control
from fusefs.fuse import mountpoint
from fusefs.values.settings import ABLATED
from scripts.benchmarks import mounts
from scripts.benchmarks.bench import Bench, check_equal, keep_starts, read
from scripts.benchmarks.machine import MIB
from scripts.benchmarks.stage import CommandFailed, clear, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scripts.benchmarks.patterns import Pattern
    from scripts.benchmarks.results import Report
    from scripts.benchmarks.servers import Server

SWITCH = "FUSEFS_WITHOUT"
"""What the daemon reads: names of policies with commas between.  For this benchmark alone; no user needs it."""

POLICIES = ABLATED
ALL, AGAIN = "all", "all, again"
"""Of a cold load with every policy, and of the next one: its data has left the cache, its record has not.  The
difference of the two is what `replay` is worth."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one load cost.

    Attributes:
        requests: to the server, for bytes of the file.
        fetched: bytes of them.
        wasted: bytes of chunks of which the program wanted nothing.
        waited: reads of the kernel that waited for bytes to come.
    """

    requests: int
    fetched: int
    wasted: int
    waited: int


@contextlib.contextmanager
def switched_off(policies: Sequence[str]) -> Iterator[None]:
    """Every mount that begins meanwhile goes without them."""
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = ",".join(policies)
    try:
        yield
    finally:
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before


def count(bench: Bench, server: Server, pattern: Pattern, policies: Sequence[str]) -> None:
    """Have one pattern counted: with everything, once more with its record, and without each policy."""
    # Nothing but a program's own pace differs from run to run.
    runs = bench.runs if pattern.program else 1
    found: dict[str, list[Counts]] = {}
    for _ in range(runs):
        cache = bench.fresh("cache")
        for how, without in ways(policies, pattern).items():
            if how != AGAIN:
                clear(cache)
            found.setdefault(how, []).append(_once(bench, server, pattern, without))
            keep_starts(cache)
        clear(cache)
    for how, loads in found.items():
        for field in fields(Counts):
            bench.report.raw(pattern.name, f"{field.name}: {how}", "", [getattr(load, field.name) for load in loads])


def ways(policies: Sequence[str], pattern: Pattern) -> dict[str, Sequence[str]]:
    """The loads to count, in their order: what each is called, and the policies that it goes without."""
    # A replay is what the second load is about.  How many requests are in flight is nothing to who waits for all.
    # Small files that are read together are nothing to who reads one large one.
    senseless = {"replay", "siblings"} if pattern.program else {"replay", "siblings", "concurrency"}
    return {ALL: (), AGAIN: (), **{f"without {policy}": (policy,) for policy in policies if policy not in senseless}}


def _once(bench: Bench, server: Server, pattern: Pattern, without: Sequence[str]) -> Counts:
    model = pattern.model
    server.mark()
    with (
        switched_off(without),
        mounts.fusefs(bench.mnt, bench.folder / "cache", [server.source(model)]) as mount,
    ):
        path = next(mount.folder.rglob(model.file), None) or next(mount.folder.rglob("*.gguf"))
        if pattern.program:
            found = read(pattern.program, path=path, **pattern.words)
            check_equal(found["sha256"], _right(bench, pattern), pattern.name)
        else:
            _read_settled(mount, str(path), pattern)
        _settle(mount)
        counters = mount.status()["counters"]
    asked = server.content()
    fetched = sum(request.sent for request in asked)
    return Counts(len(asked), fetched, fetched - pattern.needed, counters["reads_waited"])


def _right(bench: Bench, pattern: Pattern) -> object:
    """What the program finds in the plain file."""
    key = f"{pattern.program} {pattern.model.name} {pattern.words}"
    if key not in bench.right:
        bench.right[key] = read(pattern.program, path=pattern.model.plain, **pattern.words)["sha256"]
    return bench.right[key]


def _read_settled(mount: mounts.Mount, path: str, pattern: Pattern) -> None:
    with open(path, "rb", buffering=0) as file, open(pattern.model.plain, "rb", buffering=0) as plain:
        area = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) if pattern.mapped else None
        for off, size in pattern.spans:
            found = area[off : off + size] if area else os.pread(file.fileno(), size, off)
            check_equal(found == os.pread(plain.fileno(), size, off), True, f"{pattern.name} at {off}")
            _settle(mount)
        if area:
            area.close()


def _settle(mount: mounts.Mount) -> None:
    """Wait until nothing is on its way; twice, for what to fetch ahead may just be found out."""
    mounted = mountpoint.mounted_at(mount.folder)
    if mounted is None:
        raise CommandFailed(f"{mount.folder} is not mounted")

    def idle() -> bool:
        # Asked without a program of its own: that would take a third of a second each time.
        status = control.query(mounted, 30)
        return not status.in_flight and not status.queued

    wait_until(lambda: idle() and idle(), 60, pause=0.001)


def table(report: Report) -> Iterator[str]:
    """What was counted, as Markdown: a row a pattern, a column a way to load; medians."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for series in report.series:
        name, _, how = series.who.partition(": ")
        found.setdefault(series.row, {}).setdefault(how, {})[name] = series.median
    ways = list(dict.fromkeys(how for row in found.values() for how in row))
    yield f"| pattern | {' | '.join(ways)} |"
    yield "|---|" + "--:|" * len(ways)
    for name, row in found.items():
        yield f"| {name} | {' | '.join(_cell(row[how]) if how in row else '' for how in ways)} |"


def _cell(counts: dict[str, float]) -> str:
    fetched, wasted = (round(counts[name] / MIB) for name in ("fetched", "wasted"))
    return f"{counts['requests']:.0f} / {fetched} / {wasted} / {counts['waited']:.0f}"
