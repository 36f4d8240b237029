"""Show: results as tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.benchmarks.results import figure

if TYPE_CHECKING:
    from scripts.benchmarks.results import Report

_COLOURS = {"met": "green", "missed": "red", "failed": "red"}


def show(report: Report) -> None:
    """Print the table, and the raw figures below it."""
    console = Console(width=None if Console().is_terminal else 150)
    for title, facts in (("machine", report.machine), ("setting", report.setting)):
        console.print(Text(f"{title}: " + ", ".join(f"{name} {value}" for name, value in facts.items())))
    table = Table("row", "measure", "figure", "goal", "verdict", "note", title="fusefs against its peers")
    for column in (table.columns[2], table.columns[3]):
        column.justify = "right"
    for result in report.in_order():
        value = "-" if result.value is None else f"{figure(result.value)} {result.unit}".strip()
        table.add_row(
            result.row,
            Text(result.what),
            value,
            str(result.goal or ""),
            Text(result.verdict, style=_COLOURS.get(result.verdict, "")),
            Text(result.note),
        )
    if report.results:
        console.print(table)
    if report.floors:
        console.print(_floors(report))
    if report.shares:
        shares = ", ".join(f"{what} {part:.0%}" for what, part in report.shares.items())
        console.print(Text(f"where the daemon was: {shares}"))
    if report.series:
        console.print(_raw(report))


def _floors(report: Report) -> Table:
    table = Table("a part of a cold read", "s/GiB", "CPU s/GiB", "note", title="where the time goes")
    for column in table.columns[1:3]:
        column.justify = "right"
    for floor in report.floors:
        table.add_row(floor.part, figure(floor.wall), figure(floor.cpu), floor.note)
    return table


def _raw(report: Report) -> Table:
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
    return raw
