"""What a clean-up of the cache came to: a row for each model of which something went, and a line for what stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.values.printable import printable
from fusefs.view import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.values.report import Freed, GcReport
    from fusefs.view.table import Line

_REST = 2 + 8 + 2 + 24 + 2 + 6
"""Columns of all but the name: bytes, last use, whether the name went, too."""


def freed(report: GcReport, now: float, width: int | None) -> list[Line]:
    """Everything, as lines.

    Args:
        report: what was done, or would be.
        now: seconds since 1970.
        width: columns of the terminal; None for a pipe: nothing is elided.
    """
    lines = [*_rows(report, now, width), *_stays(report), [(_total(report), "bold")]]
    return [[(printable(text), style) for text, style in line] for line in lines]


def not_reached(report: GcReport) -> str:
    """Why the limits do not hold; empty when they do."""
    if not report.excess:
        return ""
    reasons = []
    if report.pinned:
        reasons.append(f"{words.some(len(report.pinned), 'model')} {_is(len(report.pinned))} pinned")
    if used := len(report.in_use) + report.unnamed_in_use:
        reasons.append(f"{_things_in_use(report)} {_is(used)} in use")
    if not reasons and report.small:
        reasons.append(f"{words.size(report.small)} of manifests and other small blobs stay")
    why = " and ".join(reasons) or "nothing more of the cache may go"
    return f"{words.size(report.excess)} too much for the limits{' would stay' if report.dry_run else ''}: {why}"


def _things_in_use(report: GcReport) -> str:
    parts = []
    if report.in_use:
        parts.append(words.some(len(report.in_use), "model"))
    if report.unnamed_in_use:
        parts.append(f"{words.some(report.unnamed_in_use, 'blob')} of no model")
    return " and ".join(parts)


def _rows(report: GcReport, now: float, width: int | None) -> Iterator[Line]:
    rows = [(_label(one), one.bytes, one) for one in report.freed]
    labels = [label for label, _, _ in rows]
    extras = [
        (label, size)
        for label, size in (
            ("quarantine", report.freed_quarantine),
            ("temporary files", report.freed_leftovers),
        )
        if size
    ]
    room = max([*map(len, labels), *(len(label) for label, _ in extras)], default=0)
    dated = width is None or width - _REST >= min(room, 16)
    if width is not None:
        room = min(room, max(8, width - (_REST if dated else _REST - 26)))
    for label, size, one in rows:
        shown = label if width is None else words.elide(label, room)
        yield [
            (f"{shown:<{room}}", ""),
            (f"  {words.size(size):>8}", "cyan"),
            (f"  {'last used ' + words.ago(now - one.last_use):<24}" if dated else "", "dim"),
            ("  forgot" if one.forgotten else "", "yellow"),
        ]
    for label, size in extras:
        yield [(f"{label:<{room}}", ""), (f"  {words.size(size):>8}", "cyan")]


def _label(one: Freed) -> str:
    if not one.models:
        return "blobs of no model"
    more = len(one.models) - 1
    return f"{one.models[0]} and {more} more" if more else one.models[0]


def _stays(report: GcReport) -> Iterator[Line]:
    if report.excess:
        return  # the failure says it
    if report.pinned:
        number = len(report.pinned)
        yield [(f"{words.some(number, 'model')} {_is(number)} pinned and stay{'s' if number == 1 else ''}", "yellow")]
    if report.in_use or report.unnamed_in_use:
        number = len(report.in_use) + report.unnamed_in_use
        yield [(f"{_things_in_use(report)} {_is(number)} in use and stay{'s' if number == 1 else ''}", "yellow")]


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _total(report: GcReport) -> str:
    gone = words.size(report.freed_total) if report.freed_total else "nothing"
    what = f"would free {gone}; then" if report.dry_run else f"freed {gone}; now"
    limit = f" of {words.size(report.limit)}" if report.limit is not None else ""
    return f"{what} {words.size(report.used)}{limit} used, {words.size(report.free)} of the disk free"
