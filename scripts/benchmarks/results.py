"""Results: figures, goals, verdicts; what is written as JSON, and read back."""

from __future__ import annotations

import operator
import re
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMPARE = {"≤": operator.le, "≥": operator.ge, "=": operator.eq}


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

    @classmethod
    def parse(cls, text: str) -> Goal:
        """What `str` gives."""
        sign, _, value = text.partition(" ")
        if sign not in _COMPARE:
            raise ValueError(text)
        return cls(cast('Literal["≤", "≥", "="]', sign), float(value))


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


@dataclass(frozen=True, slots=True)
class Floor:
    """What one part of a cold read takes by itself.

    Attributes:
        part: in words.
        wall: seconds a GiB.
        cpu: CPU seconds a GiB, of all processes that take part.
        note: said beside it.
    """

    part: str
    wall: float
    cpu: float
    note: str = ""


class OtherSetting(Exception):
    """Figures of two runs that cannot stand in one table."""


_MAY_DIFFER = frozenset({"date", "working folder"})
"""Of what a report says about its machine and its setting, what tells nothing about its figures."""


@dataclass(slots=True)
class Report:
    """All of a run.

    Attributes:
        machine: what it was measured on.
        setting: with what.
        results: the table.
        series: the raw figures.
        floors: where the time of a cold read goes.
        shares: in which code the daemon was found during one, as parts of 1.
    """

    machine: dict[str, str]
    setting: dict[str, str]
    results: list[Result] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)

    def add(self, *results: Result) -> None:
        """Take lines of the table."""
        self.results.extend(results)

    def raw(self, row: str, who: str, unit: str, values: Sequence[float]) -> float:
        """Take raw figures; returns their median."""
        series = Series(row, who, unit, list(values))
        self.series.append(series)
        return series.median

    def median(self, row: str, who: str) -> float:
        """The median of raw figures that are there.

        Raises:
            StopIteration: they are not.
        """
        return next(series.median for series in self.series if (series.row, series.who) == (row, who))

    def take(self, other: Report) -> None:
        """Take the rows, floors and shares of a later run; a row that is here already is replaced as a whole.

        Raises:
            OtherSetting: it ran on another machine, with another version, or with another setting.
        """
        for mine, its in ((self.machine, other.machine), (self.setting, other.setting)):
            for key in sorted((mine.keys() | its.keys()) - _MAY_DIFFER):
                if mine.get(key) != its.get(key):
                    raise OtherSetting(f"two runs do not mix: {key} is {mine.get(key)!r} and {its.get(key)!r}")
        lines = {(result.row, result.what) for result in other.results}
        # B11 is measured beside several rows, a line for each; every other row comes from one run.
        rows = {result.row for result in other.results} - {"B11"}
        self.results = [one for one in self.results if one.row not in rows and (one.row, one.what) not in lines]
        self.results += other.results
        measured = {(series.row, series.who) for series in other.series}
        self.series = [one for one in self.series if one.row not in rows and (one.row, one.who) not in measured]
        self.series += other.series
        self.floors = other.floors or self.floors
        self.shares = other.shares or self.shares
        self.machine["date"] = _dates(self.machine.get("date", "?"), other.machine.get("date", "?"))

    def in_order(self) -> list[Result]:
        """The lines of the table, by their rows: B2 before B10."""
        return sorted(self.results, key=lambda result: [int(part) for part in re.findall(r"\d+", result.row)[:1]])

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
                for result in self.in_order()
            ],
            "floors": [asdict(floor) for floor in self.floors],
            "shares": self.shares,
            "raw": [{**asdict(series), "median": series.median} for series in self.series],
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Report:
        """What `as_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        report = cls(found["machine"], found["setting"], shares=found["shares"])
        for one in found["results"]:
            words = {key: value for key, value in one.items() if key != "verdict"}
            report.add(Result(**words | {"goal": Goal.parse(one["goal"]) if one["goal"] else None}))
        report.floors = [Floor(**one) for one in found["floors"]]
        report.series = [Series(one["row"], one["who"], one["unit"], one["values"]) for one in found["raw"]]
        return report


def _dates(first: str, last: str) -> str:
    """When runs were made, from the first to the last."""
    first = first.partition(" to ")[0]
    return first if first == last else f"{first} to {last}"


def figure(value: float) -> str:
    """Three digits that matter."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
