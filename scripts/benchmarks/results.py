"""Results: figures, goals, verdicts; printed as tables, or written as JSON."""

from __future__ import annotations

import operator
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMPARE = {"≤": operator.le, "≥": operator.ge, "=": operator.eq}
_COLOURS = {"met": "green", "missed": "red", "failed": "red"}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be: at most, at least, or exactly `value`."""

    sign: Literal["≤", "≥", "="]
    value: float

    def met(self, value: float) -> bool:
        """Whether a figure is."""
        return bool(_COMPARE[self.sign](value, self.value))

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    Attributes:
        row: as the goals are numbered: `B1`.
        what: what is measured, against what.
        value: the figure; None when there is none, `note` says why.
        unit: of the figure; empty for a ratio.
        goal: None for a figure without one.
        note: said beside it.
        failed: the measurement itself failed.
    """

    row: str
    what: str
    value: float | None = None
    unit: str = ""
    goal: Goal | None = None
    note: str = ""
    failed: bool = False

    @property
    def verdict(self) -> str:
        """In one word."""
        if self.failed:
            return "failed"
        if self.value is None:
            return "-"
        if self.goal is None:
            return ""
        return "met" if self.goal.met(self.value) else "missed"


@dataclass(frozen=True, slots=True)
class Series:
    """Raw figures of one contender in one row, in the order they were measured."""

    row: str
    who: str
    unit: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.values)


@dataclass(slots=True)
class Report:
    """All of a run."""

    machine: dict[str, str]
    setting: dict[str, str]
    results: list[Result] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)

    def add(self, *results: Result) -> None:
        """Take lines of the table."""
        self.results.extend(results)

    def raw(self, row: str, who: str, unit: str, values: Sequence[float]) -> float:
        """Take raw figures; returns their median."""
        series = Series(row, who, unit, list(values))
        self.series.append(series)
        return series.median

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "machine": self.machine,
            "setting": self.setting,
            "results": [
                {
                    **asdict(result),
                    "goal": str(result.goal) if result.goal else None,
                    "verdict": result.verdict,
                }
                for result in self.results
            ],
            "raw": [{**asdict(series), "median": series.median} for series in self.series],
        }


def figure(value: float) -> str:
    """Three digits that matter."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def show(report: Report) -> None:
    """Print the table, and the raw figures below it."""
    console = Console(width=None if Console().is_terminal else 150)
    for title, facts in (("machine", report.machine), ("setting", report.setting)):
        console.print(Text(f"{title}: " + ", ".join(f"{name} {value}" for name, value in facts.items())))
    table = Table("row", "measure", "figure", "goal", "verdict", "note", title="fusefs against its peers")
    for column in (table.columns[2], table.columns[3]):
        column.justify = "right"
    for result in report.results:
        value = "-" if result.value is None else f"{figure(result.value)} {result.unit}".strip()
        table.add_row(
            result.row,
            result.what,
            value,
            str(result.goal or ""),
            Text(result.verdict, style=_COLOURS.get(result.verdict, "")),
            result.note,
        )
    console.print(table)
    raw = Table("row", "who", "unit", "median", "least", "most", "all", title="raw figures")
    for series in report.series:
        few = " ".join(figure(value) for value in series.values[:10])
        raw.add_row(
            series.row,
            series.who,
            series.unit,
            figure(series.median),
            figure(min(series.values)),
            figure(max(series.values)),
            few + (f" … ({len(series.values)})" if len(series.values) > 10 else ""),
        )
    console.print(raw)
