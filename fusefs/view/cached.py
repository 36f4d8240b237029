"""The picture of a cache directory: a row a model, then what else is there, and how full the disk is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fusefs.values.printable import printable
from fusefs.view import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusefs.values.report import BlobReport, HoldingsReport, ModelReport
    from fusefs.view.table import Line

_NUMBERS = 2 + 8 + 2 + 8 + 2 + 4 + 2 + 14 + 2 + 6
"""Columns of all but the name: size, here, percent, last use, pinned."""


def holdings(report: HoldingsReport, now: float, width: int | None, *, everything: bool) -> list[Line]:
    """Everything, as lines.

    Args:
        report: what there is.
        now: seconds since 1970.
        width: columns of the terminal; None for a pipe: nothing is elided.
        everything: a row for each blob that no model names, too.
    """
    lines = [
        *_models(report, now, width, everything=everything),
        [],
        *_totals(report, now),
        [("disk        ", "dim"), (_disk(report), "")],
        [("cache       ", "dim"), (report.cache_dir, "")],
    ]
    return [[(printable(text), style) for text, style in line] for line in lines]


@dataclass(frozen=True, slots=True)
class _Columns:
    """How wide the label is, and which of the others there is room for."""

    label: int
    size: bool = True
    use: bool = True


def _columns(labels: Sequence[str], width: int | None) -> _Columns:
    """Where there is not room for all, the last use goes first, then the size; the label is elided."""
    longest = max(5, *map(len, labels))
    if width is None:
        return _Columns(longest)
    wanted = min(longest, 16)
    for columns, others in ((_Columns(0), _NUMBERS), (_Columns(0, use=False), _NUMBERS - 16)):
        if width - others >= wanted:
            return replace(columns, label=min(longest, width - others))
    return _Columns(min(longest, max(8, width - (_NUMBERS - 26))), size=False, use=False)


def _models(report: HoldingsReport, now: float, width: int | None, *, everything: bool) -> Iterator[Line]:
    unnamed = report.unnamed if everything else ()
    labels = [model.short for model in report.models] + [one.digest for one in unnamed]
    if not labels:
        yield [("the cache has no models; `fusefs pull` or `fusefs mount` brings one", "dim")]
        return
    columns, elided = _columns(labels, width), width is not None
    size, use = f"  {'SIZE':>8}" if columns.size else "", "        LAST USE" if columns.use else ""
    yield [(f"{'MODEL':<{columns.label}}{size}  {'HERE':>8}{use}", "dim")]
    for model in report.models:
        yield _row(model, columns, now, elided=elided)
    for one in unnamed:
        label = words.elide(one.digest, columns.label) if elided else one.digest
        yield [
            (f"{label:<{columns.label}}", "dim"),
            (_numbers(one.size, one.present, columns), ""),
            (f"  {words.ago(now - one.last_use)}" if columns.use else "", "dim"),
        ]


def _row(model: ModelReport, columns: _Columns, now: float, *, elided: bool) -> Line:
    label = words.elide(model.short, columns.label) if elided else model.short
    if model.problem:
        return [(f"{label:<{columns.label}}  ", ""), (model.problem, "red")]
    style = "green" if model.present >= model.size else "cyan" if model.present else "dim"
    return [
        (f"{label:<{columns.label}}", ""),
        (_numbers(model.size, model.present, columns), style),
        (f"  {words.ago(now - model.last_use):<14}" if columns.use else "", ""),
        ("  pinned" if model.pinned else "", "yellow"),
    ]


def _numbers(size: int, present: int, columns: _Columns) -> str:
    whole = f"  {words.size(size):>8}" if columns.size else ""
    return f"{whole}  {words.size(present):>8}  {words.percent(present, size):>4}"


def _totals(report: HoldingsReport, now: float) -> Iterator[Line]:
    total = f"{words.some(len(report.models), 'model')}, {words.some(report.blobs, 'blob')}, "
    shared = f", {words.size(report.shared)} of it shared" if report.shared else ""
    yield [("total       ", "dim"), (f"{total}{words.size(report.used)} on disk{shared}", "bold")]
    if report.unnamed:
        yield [("no model    ", "dim"), (_unnamed(report.unnamed, now), "")]
    if report.quarantine:
        size = words.size(sum(one.allocated for one in report.quarantine))
        since = words.ago(now - min(one.since for one in report.quarantine))
        blobs = words.some(len(report.quarantine), "blob")
        yield [("quarantine  ", "red"), (f"{blobs} with a wrong chunk list, {size} on disk, oldest {since}", "")]


def _unnamed(blobs: Sequence[BlobReport], now: float) -> str:
    size = words.size(sum(one.allocated for one in blobs))
    last = words.ago(now - max(one.last_use for one in blobs))
    return f"{words.some(len(blobs), 'blob')}, {size} on disk, last used {last}"


def _disk(report: HoldingsReport) -> str:
    free = f"{words.size(report.free)} free of {words.size(report.disk)}"
    todo = ": run `fusefs gc`" if report.free < report.keep_free else ""
    return f"{free}, {words.size(report.keep_free)} to keep free{todo}"
