"""Markdown: results as README shows them, between two marks, so that they can be written anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.benchmarks.results import figure
from scripts.benchmarks.stage import TOP

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.benchmarks.results import Report

README = TOP / "README.md"
BEGIN, END = "<!-- bench: written by `scripts/bench --readme` -->", "<!-- /bench -->"
_MARKS = {"met": "✓ met", "missed": "✗ **missed**", "failed": "✗ **failed**"}
_MACHINE = ("processor", "cores", "memory", "kernel")
_NEAR_ZERO = 0.005


class NoMarks(Exception):
    """The file does not say where the table goes."""


def render(report: Report) -> str:
    """Machine and versions, the table of goals, and where the time goes."""
    facts = report.machine
    versions = [f"{name} {value}" for name, value in facts.items() if name not in {"date", *_MACHINE}]
    machine = (
        f"{facts.get('processor', '?')}, {facts.get('cores', '?')} cores, {facts.get('memory', '?')}, "
        f"Linux {facts.get('kernel', '?')}"
    )
    setting = "; ".join(f"{name}: {value}" for name, value in report.setting.items() if name != "working folder")
    met, missed = (sum(result.verdict == word for result in report.results) for word in ("met", "missed"))
    lines = [
        f"{facts.get('date', '?')}. {machine}. {setting}.",
        f"Goals met: {met}; missed: {missed}. Ratios are of medians; less is better where the goal is `≤`.",
        "",
        *_table(
            ("row", "measure", "figure", "goal", ""),
            "llrrl",
            [
                (
                    result.row,
                    _text(result.what + (f" ({result.note})" if result.note else "")),
                    "-" if result.value is None else f"{figure(result.value)} {result.unit}".strip(),
                    str(result.goal or ""),
                    _MARKS.get(result.verdict, ""),
                )
                for result in report.in_order()
            ],
        ),
    ]
    if report.floors:
        lines += ["", "What each part of a cold read takes by itself, on the same machine in the same run:", ""]
        lines += _table(
            ("part", "s/GiB", "CPU s/GiB", ""),
            "lrrl",
            [(_text(one.part), figure(one.wall), figure(one.cpu), _text(one.note)) for one in report.floors],
        )
    if report.shares:
        shares = ", ".join(f"{what} {part:.0%}" for what, part in report.shares.items() if part >= _NEAR_ZERO)
        lines += ["", f"Where the daemon's CPU time goes during a cold read (perf): {shares}."]
    lines += ["", f"<sub>{', '.join(versions)}</sub>"]
    return "\n".join(lines) + "\n"


def _text(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def _table(head: tuple[str, ...], sides: str, rows: list[tuple[str, ...]]) -> list[str]:
    rule = "|".join("--:" if side == "r" else "---" for side in sides)
    return [f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]


def put(path: Path, text: str) -> None:
    """Replace what is between the marks of a file.

    Raises:
        NoMarks: they are not there, in their order.
    """
    old = path.read_text()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarks(f"{path} has no lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
