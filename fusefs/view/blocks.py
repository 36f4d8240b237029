"""A bar of block characters that shows which parts of a file are present, not only how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHADES = " ░▒▓█"
"""Nothing, up to a third, up to two thirds, more, all of the cell."""


def resample(presence: Sequence[float], cells: int) -> list[float]:
    """Divide a file into `cells` equal parts instead of `len(presence)`; fractions are averaged by overlap."""
    count = len(presence)
    if not count:
        return [0.0] * cells
    out = []
    for i in range(cells):
        low, high = i * count / cells, (i + 1) * count / cells
        total, at = 0.0, low
        while at < high - 1e-9:
            stop = min(high, int(at + 1e-9) + 1)
            total += presence[min(count - 1, int(at + 1e-9))] * (stop - at)
            at = stop
        out.append(total / (high - low))
    return out


def shade(fraction: float) -> str:
    """The character for a part of which `fraction` (0 to 1) is present; empty and full only when it is exactly that."""
    if fraction <= 0:
        return SHADES[0]
    if fraction >= 1:
        return SHADES[4]
    return SHADES[1 + min(2, int(fraction * 3))]


def bar(presence: Sequence[float], cells: int) -> str:
    """`cells` characters for a file with the given fractions (0 to 1) of its equal parts."""
    # A sum of thirds must count as full: rounding, not a hole.
    return "".join(shade(round(fraction, 6)) for fraction in resample(presence, cells))
