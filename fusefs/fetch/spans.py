"""Spans: which neighbouring chunks one request asks for.  Pure planning: numbers in, numbers out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fusefs.values.chunks import ChunkList

SMALLEST_SPAN = 8 * MIB
"""Below this a request's own cost (a round trip, a header) is felt; it still leaves several spans in a window."""

_SECONDS_A_SPAN = 0.05
"""A span that takes longer would keep its last chunk waiting behind its first."""


def span_limit(rate: float, largest: int) -> int:
    """Bytes that one request should ask for at `rate` bytes a second, at most `largest`."""
    return min(largest, max(SMALLEST_SPAN, int(rate * _SECONDS_A_SPAN)))


def plan(chunks: ChunkList, first: int, limit: int, wanted: Callable[[int], bool]) -> range:
    """Extend a span from chunk `first` over the chunks behind it that are `wanted` too, up to `limit` bytes.

    `first` is always in it, even when it alone is larger than `limit`.
    """
    span = range(first, first + 1)
    while wanted(span.stop) and len(chunks.extent(longer := range(first, span.stop + 1))) <= limit:
        span = longer
    return span


def runs(indices: Iterable[int]) -> list[range]:
    """Group rising indices into ranges of neighbours."""
    found: list[range] = []
    for index in indices:
        if found and index == found[-1].stop:
            found[-1] = range(found[-1].start, index + 1)
        else:
            found.append(range(index, index + 1))
    return found
