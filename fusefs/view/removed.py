"""What a removal came to: a line for each model that is gone, and one for what stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.view import words

if TYPE_CHECKING:
    from fusefs.values.report import Removed, RemoveReport


def removed(report: RemoveReport) -> list[str]:
    """`llama3.2:1b: removed, 1.2 GiB freed; 2 blobs stay, other models need them`."""
    lines = [_line(one) for one in report.removed]
    if len(report.removed) > 1:
        lines.append(f"{words.size(report.freed_total)} freed, {words.size(report.free)} of the disk free")
    return lines


def _line(one: Removed) -> str:
    stays = ""
    if one.shared:
        stays = f"; {words.some(one.shared, 'blob')} stay{'s' if one.shared == 1 else ''} for other models"
    return f"{one.short}: removed, {words.size(one.bytes) if one.bytes else 'nothing'} freed{stays}"


def not_removed(report: RemoveReport) -> str:
    """Why models stay; empty when none does."""
    if not report.kept:
        return ""
    first = f"{report.kept[0].short}: {report.kept[0].why}"
    if len(report.kept) == 1:
        return first
    return f"{len(report.kept)} models were not removed; the first: {first}"
