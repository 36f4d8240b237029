"""Against another checkout: the same rows of two versions of fusefs, by turns, and what changed.

Each turn measures a row with one version and then with the other, and the next turn begins with the other one, so that
a machine that gets slower or faster favours neither.  What both measure beside fusefs (curl, the plain disk) is the
measure of noise: its ratio should be 1.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.benchmarks import warm
from scripts.benchmarks.bench import percentile
from scripts.benchmarks.product import measured
from scripts.benchmarks.results import Report, figure
from scripts.benchmarks.rows import attempt, plan

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from scripts.benchmarks.bench import Bench
    from scripts.benchmarks.product import Product

MANY = 20
"""Raw figures from which on their slowest few are compared, too."""

WITHOUT = ", without passthrough"
Key = tuple[str, str, str]
"""Row, what was measured, unit."""


@dataclass(slots=True)
class Side:
    """One of the two.

    Attributes:
        product: the fusefs.
        bench: where it is measured; one run a turn.
        figures: what was found, of all turns.
        failed: what could not be measured, with the reason.
    """

    product: Product
    bench: Bench
    figures: dict[Key, list[float]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def take(self, report: Report) -> None:
        """Take over the figures of a turn."""
        for result in report.results:
            if result.failed:
                self.failed.append(f"{result.row}: {result.note}")
            elif result.value is not None:
                self.figures.setdefault((result.row, result.what, result.unit), []).append(result.value)
        for series in report.series:
            self.figures.setdefault((series.row, series.who, series.unit), []).extend(series.values)


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the comparison.

    Attributes:
        row: `B1`.
        what: as in the table of results, or of whose raw figures these are.
        unit: of both figures.
        this: median of the first side.
        other: median of the second.
    """

    row: str
    what: str
    unit: str
    this: float
    other: float

    @property
    def ratio(self) -> float | None:
        """This one ÷ the other; None where that says nothing."""
        return self.this / self.other if self.other else None


def by_turns(args: argparse.Namespace, sides: Sequence[Side]) -> None:
    """Measure every row that was asked for, as many turns as there are runs."""
    for turn in range(args.runs):
        for rows, row in plan(args):
            for side in sides if turn % 2 == 0 else reversed(sides):
                if wanted := sorted(rows & args.only):
                    report = side.bench.report = Report({}, {})
                    with measured(side.product):
                        words = f"{', '.join(wanted)} of {side.product.name}, turn {turn + 1} of {args.runs}"
                        attempt(side.bench, words, partial(row, side.bench))
                    side.take(report)
    for side in sides:
        warm.forget(side.bench)


def changes(this: Side, other: Side) -> Iterator[Change]:
    """What both measured, in the order in which it was measured.

    A row without passthrough is compared with what the other has when it has none.
    """
    for (row, what, unit), mine in this.figures.items():
        same = (row, what, unit)
        theirs = other.figures.get(same) or other.figures.get((row, what.replace(WITHOUT, ""), unit))
        if theirs is None:
            continue
        yield Change(row, what, unit, statistics.median(mine), statistics.median(theirs))
        if min(len(mine), len(theirs)) >= MANY:
            yield Change(row, f"{what}, p99", unit, percentile(mine, 0.99), percentile(theirs, 0.99))


def markdown(found: Sequence[Change], this: Side, other: Side) -> str:
    """The comparison as a table."""
    lines = [
        f"| row | measure | {this.product.name} | {other.product.name} | ratio |",
        "|---|---|--:|--:|--:|",
        *(f"| {' | '.join(_cells(change))} |" for change in found),
    ]
    lines += [f"\nfailed: {reason}" for side in (this, other) for reason in side.failed]
    return "\n".join(lines) + "\n"


def show(found: Sequence[Change], this: Side, other: Side) -> None:
    """The comparison on a terminal."""
    console = Console(width=None if Console().is_terminal else 150)
    table = Table("row", "measure", this.product.name, other.product.name, "ratio", title="medians")
    for column in table.columns[2:]:
        column.justify = "right"
    for change in found:
        table.add_row(*map(Text, _cells(change)))
    console.print(table)
    for side in (this, other):
        for reason in side.failed:
            console.print(Text(f"failed: {reason}"))


def as_dict(found: Sequence[Change], this: Side, other: Side) -> dict[str, object]:
    """For JSON."""
    return {
        "sides": [side.product.name for side in (this, other)],
        "failed": {side.product.name: side.failed for side in (this, other)},
        "changes": [
            {
                "row": one.row,
                "what": one.what,
                "unit": one.unit,
                "this": one.this,
                "other": one.other,
                "ratio": one.ratio,
            }
            for one in found
        ],
        "raw": {
            side.product.name: [
                {"row": row, "what": what, "unit": unit, "values": values}
                for (row, what, unit), values in side.figures.items()
            ]
            for side in (this, other)
        },
    }


def _cells(change: Change) -> tuple[str, ...]:
    figures = (f"{figure(value)} {change.unit}".strip() for value in (change.this, change.other))
    ratio = "-" if change.ratio is None else f"{change.ratio:.3f}"
    return (change.row, change.what.replace("|", "\\|"), *figures, ratio)
