"""Scaling: what would bound a cold read on more cores and a faster link, from what each part took here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.benchmarks.threads import ENDED, LOOP, OTHERS, WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.benchmarks.results import Report

CORES = (4, 16, 64)
LINKS = (10, 25, 100)
"""Gbit/s."""

GIBIT = 8 * (1 << 30) / 1e9
"""Gbit in a GiB."""

ROW, WHO = "B13", "fusefs mount: CPU of the "


@dataclass(frozen=True, slots=True)
class Parts:
    """What a cold read in order takes of each part, in CPU seconds a GiB.

    Attributes:
        serial: the event loop, which is one thread.
        parallel: worker threads and others, which are as many as there are cores.
    """

    serial: float
    parallel: float

    @classmethod
    def of(cls, report: Report) -> Parts | None:
        """As they were measured; None when they were not."""
        found = {one.who.removeprefix(WHO): one.median for one in report.series if one.row == ROW and WHO in one.who}
        if LOOP not in found:
            return None
        return cls(found[LOOP], sum(found.get(kind, 0.0) for kind in (WORKERS, OTHERS, ENDED)))

    def bound(self, cores: int, gbit: float) -> tuple[float, str]:
        """GiB/s at most, and what stands in the way."""
        seconds = {
            "event loop": self.serial,
            "cores": (self.serial + self.parallel) / cores,
            "link": GIBIT / gbit,
        }
        longest = max(seconds, key=lambda part: seconds[part])
        return 1 / seconds[longest], longest


def lines(report: Report) -> Iterator[str]:
    """The table as Markdown; a sentence instead when the parts were not measured."""
    parts = Parts.of(report)
    if parts is None:
        yield "Not measured yet: row B13 of `scripts/bench` has the parts."
        return
    yield f"Serial part (event loop): {parts.serial:.2f} s/GiB. Parallel part: {parts.parallel:.2f} s/GiB."
    yield ""
    yield f"| cores | {' | '.join(f'{gbit} Gbit/s' for gbit in LINKS)} |"
    yield "|--:|" + "---|" * len(LINKS)
    for cores in CORES:
        cells = (parts.bound(cores, gbit) for gbit in LINKS)
        yield f"| {cores} | {' | '.join(f'{rate:.2f} GiB/s ({what})' for rate, what in cells)} |"
