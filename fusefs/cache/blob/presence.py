"""Presence: how much of a blob is on disk, for who only looks (`ls`, `du`, status).

The event loop answers that, so it must not grow with what a registry says: up to `EXACT` chunks are added up one run
after the other; of more, all but the last count as equal, which nearly all lists make them (of 2^20 chunks that takes
60 µs, and adding up 300 ms at worst).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.values.chunks import Starts

EXACT = 4096
"""Chunks; as many as a list of small ones may have."""

_ON_DISK = bytes([0, 1, 1, 1]) + bytes(252)
"""1 for each state of `fusefs.cache.blob.mapfile` that stands for bytes on disk."""


def ranges_on_disk(size: int, starts: Starts, states: bytes) -> list[tuple[int, int]]:
    """Byte ranges [start, stop) of chunks that are on disk, claims included, in order; exact, and as long as it is."""
    on_disk = states.translate(_ON_DISK)
    ranges = []
    stop = 0
    # Of a map of 2^20 chunks a regular expression takes ten times as long.
    while (first := on_disk.find(1, stop)) >= 0:
        stop = on_disk.find(0, first)
        if stop < 0:
            ranges.append((starts[first], size))
            break
        ranges.append((starts[first], starts[stop]))
    return ranges


def bytes_on_disk(size: int, starts: Starts, states: bytes) -> int:
    """How many bytes are on disk, claims included."""
    if len(states) > EXACT and not isinstance(starts, range):
        return about(size, states)
    if not isinstance(starts, range):
        return sum(stop - start for start, stop in ranges_on_disk(size, starts, states))
    on_disk = states.translate(_ON_DISK)
    short = len(starts) * starts.step - size if starts and on_disk[-1:] == b"\1" else 0
    return on_disk.count(1) * starts.step - short


def about(size: int, states: bytes) -> int:
    """The same when it is not known where chunks begin: 0 only for none of them, `size` only for all."""
    count = states.translate(_ON_DISK).count(1)
    return size * count // len(states) if states else 0


def fractions(states: bytes, cells: int, part: tuple[float, float] = (0.0, 1.0)) -> list[float]:
    """For each of `cells` equal parts of the chunks, or of a part of them, the fraction that is on disk.

    Args:
        states: of all chunks; at least one.
        cells: how many.
        part: where the part begins and ends, as fractions of the whole.
    """
    on_disk, count = states.translate(_ON_DISK), len(states)
    first, length = part[0] * count, (part[1] - part[0]) * count
    cuts = [int(first + length * i / cells) for i in range(cells + 1)]
    return [
        on_disk.count(1, start, max(stop, start + 1)) / max(stop - start, 1) if start < count else 0.0
        for start, stop in pairwise(cuts)
    ]


def overlaps(ranges: Iterable[tuple[int, int]], cells: int, off: int, size: int) -> list[float]:
    """For each of `cells` equal parts of the bytes [off, off+size), the fraction that lies in one of `ranges`."""
    parts, width = [0.0] * cells, size / cells
    for begin, end in ranges:
        start, stop = max(begin - off, 0), min(end - off, size)
        if start < stop:
            for cell in range(int(start / width), min(cells, int((stop - 1) / width) + 1)):
                parts[cell] += max(0.0, (min(stop, (cell + 1) * width) - max(start, cell * width)) / width)
    return [min(1.0, part) for part in parts]
