"""Markdown: all figures of the page about performance and of README, between marks; nobody writes them by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scripts.benchmarks import scaling
from scripts.benchmarks.results import figure
from scripts.benchmarks.stage import TOP

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.benchmarks.results import Report

PAGE = TOP / "fusefs/docs/performance.md"
README = TOP / "README.md"

SHORT = (
    ("B1", "cold, in order: time ÷ curl + openssl", "a cold read in order, time ÷ curl and then openssl"),
    ("B2", "cold, in order: fusefs mount, share of the link", "a cold read in order, share of a link of 1 Gbit/s"),
    ("B5", "safetensors, one tensor: time ÷ full download", "one tensor of a cold file, time ÷ full download"),
    (
        "B14",
        "warm, passthrough, mmap: throughput ÷ plain file",
        "a complete file, mapped: throughput ÷ plain file",
    ),
    (
        "B15",
        "from the command to the first token of llama.cpp, cold: time ÷ download, then run",
        "`mount` to first token, a small model: time ÷ download, then run",
    ),
)
"""The rows that README shows, each with its measure in words for somebody who has not read the page."""

_CURL = "cold, in order: time ÷ curl"
BARS = (
    ("curl: no check", None),
    ("rclone mount: no check", "cold, in order: time ÷ rclone off, best flags"),
    ("curl, then openssl", "cold, in order: time ÷ curl + openssl"),
)
"""What the picture shows beside fusefs: each with fusefs's time ÷ its own; None is curl, whose time is the unit."""

_BAR = 40
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


def short(report: Report) -> str:
    """The rows of `SHORT` and a picture of letters: it looks the same on a host, on PyPI and in a terminal."""
    found = {(result.row, result.what): result for result in report.results if result.value is not None}
    rows: list[tuple[str, ...]] = []
    for row, what, words in SHORT:
        result = found.get((row, what))
        value = "-" if result is None or result.value is None else f"{figure(result.value)} {result.unit}".strip()
        goal, verdict = ("", "") if result is None else (str(result.goal or ""), _MARKS.get(result.verdict, ""))
        rows.append((row, words, value, goal, verdict))
    lines = [*picture(report), *_table(("row", "measure", "figure", "goal", ""), "llrrl", rows)]
    facts = report.machine
    machine = ", ".join(
        [facts.get("processor", "?"), f"{facts.get('cores', '?')} cores", facts.get("date", "?").split()[0]]
    )
    return "\n".join([*lines, "", f"{machine}; medians."]) + "\n"


def picture(report: Report) -> list[str]:
    """Bars of how long a cold read in order takes, curl's time being 1; none when that was not measured."""
    found = {result.what: result.value for result in report.results if result.value}
    whole = found.get(_CURL)
    if whole is None:
        return []
    times = {
        title: 1.0 if what is None else whole / found[what] for title, what in BARS if what is None or what in found
    }
    times["fusefs mount: verified"] = whole
    longest = max(times.values())
    width = max(map(len, times))
    bars = [
        f"{title:{width}}  {'█' * round(_BAR * time / longest):{_BAR}}  {time:.2f}" for title, time in times.items()
    ]
    return ["A cold read in order on loopback, time relative to curl:", "", "```", *bars, "```", ""]


def _text(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def _table(head: tuple[str, ...], sides: str, rows: list[tuple[str, ...]]) -> list[str]:
    rule = "|".join("--:" if side == "r" else "---" for side in sides)
    return [f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]


def missed(report: Report) -> str:
    """The goals that were missed, by their rows, each with how far it is away."""
    found = [result for result in report.in_order() if result.verdict == "missed" and result.value is not None]
    if not found:
        return "None.\n"
    lines = _table(
        ("row", "measure", "figure", "goal"),
        "llrr",
        [(one.row, _text(one.what), f"{figure(one.value or 0.0)} {one.unit}".strip(), str(one.goal)) for one in found],
    )
    return "\n".join(lines) + "\n"


def into_pages(report: Report) -> None:
    """Put all figures of a run to their places."""
    put(PAGE, render(report))
    put(PAGE, missed(report), name="missed")
    put(PAGE, "\n".join(scaling.lines(report)) + "\n", name="scaling")
    put(README, short(report))


def put(path: Path, text: str, *, name: str = "bench") -> None:
    """Replace what is between the marks of this name in a file.

    Raises:
        NoMarks: they are not there, in their order.
    """
    old = path.read_text()
    begin = re.search(rf"<!-- {name}:[^>]* -->", old)
    end = -1 if begin is None else old.find(f"<!-- /{name} -->", begin.end())
    if begin is None or end < 0:
        raise NoMarks(f"{path} has no lines `<!-- {name}: … -->` and `<!-- /{name} -->`")
    path.write_text(f"{old[: begin.end()]}\n\n{text}\n{old[end:]}")
