"""Answers to `/v2/file-chunk-hashes`, as the content server (CAS) of the Hub makes them.

What lies in front of a window and behind it is folded only so far as is sure without knowing the window: a group of the
tree begins where it does because of the nodes in front of it.  Two neighbouring cuts at a distance at which no scan can
step over the second one make the place behind it sure.
Source: xet-core, merkle_hash_subtree.rs (the order of nodes, places that are sure) and the mirror of
chunk_window_builder.rs in huggingface.js (how far a window goes).
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from fusefs.xet.merkle import Node, group_length, is_cut, parent
from fusefs.xet.xethash import hash_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Levels = list[tuple[Sequence[Node], Sequence[Node]]]
    """Of each level what stands on the left of what was folded, and on the right."""

_SURE = range(3, 8)
"""Distances of neighbouring cuts between which a scan cannot go on: not within the first two of a group, not nine."""

_SETTLED = range(16 << 10, 120 << 10)
"""Bytes of chunks behind a change that show that chunks are cut as before; two of them in a row end a window."""


def proof_of(chunks: Sequence[Node], asked: Sequence[tuple[int, int]], *, settled: bool = True) -> dict[str, Any]:
    """What the server answers.

    Args:
        chunks: all of the file, in order.
        asked: ranges of bytes, from a byte to behind a byte, in order.
        settled: whether a window goes on until chunks are settled, as it does on the Hub; else it ends with the chunk
            that has the last byte.
    """
    ends = list(accumulate(chunk.size for chunk in chunks))
    windows = list(_windows(chunks, ends, asked, settled=settled))
    bounds = [0, *(index for window in windows for index in window), len(chunks)]
    gaps = [chunks[bounds[i] : bounds[i + 1]] for i in range(0, len(bounds), 2)]
    return {
        "totalChunks": len(chunks),
        "fileSize": ends[-1],
        "windows": [{"dirtyByteRange": [ends[first] - chunks[first].size, ends[stop - 1]]} for first, stop in windows],
        "hashRanges": [
            subtree(gap, at_start=not number, at_end=number == len(windows)) for number, gap in enumerate(gaps)
        ],
        "gapVerification": [],
    }


def subtree(nodes: Sequence[Node], *, at_start: bool, at_end: bool) -> dict[str, Any] | None:
    """What stands for a gap; None for an empty one."""
    if not nodes:
        return None
    levels = folded(nodes, at_start=at_start, at_end=at_end)
    in_order = [node for left, _ in levels for node in left] + [node for _, right in reversed(levels) for node in right]
    return {
        "nodes": [{"hash": hash_text(node.hash), "size": node.size} for node in in_order],
        "levels": [[len(left), len(right)] for left, right in levels],
        "at_start": at_start,
        "at_end": at_end,
    }


def folded(nodes: Sequence[Node], *, at_start: bool, at_end: bool) -> Levels:
    """Adjacent chunks of a file, folded as far as is sure.

    Args:
        nodes: chunks.
        at_start: nothing stands in front of them.
        at_end: nothing stands behind them.
    """
    levels: Levels = []
    while True:
        first = at_start and not any(left for left, _ in levels)
        last = at_end and not any(right for _, right in levels)
        left, above, right = _split(nodes, at_start=first, at_end=last)
        levels.append((left, right))
        if len(above) <= 1:
            return [*levels, (above, [])] if above else levels
        nodes = above


def _split(nodes: Sequence[Node], *, at_start: bool, at_end: bool) -> tuple[Sequence[Node], list[Node], Sequence[Node]]:
    """What stays on the left, the parents of what is folded, what stays on the right."""
    if len(nodes) <= 1:
        return nodes, [], []
    start = 0 if at_start else next(_sure(nodes), len(nodes))
    stop = len(nodes) if at_end else start + max(_sure(nodes[start:]), default=0)
    if start >= stop:
        return nodes, [], []
    above, group = [], start
    inside = nodes[:stop]  # once: a copy for each group would take most of the time for a file of a GiB
    while group < stop:
        size = group_length(inside, group)
        above.append(parent(nodes[group : group + size]))
        group += size
    return nodes[:start], above, nodes[stop:]


def _sure(nodes: Sequence[Node]) -> Iterator[int]:
    """Where groups end, whatever stands in front of these nodes or behind them."""
    cuts = [index for index, node in enumerate(nodes) if is_cut(node)]
    for (before, cut), (_, behind) in pairwise(pairwise(cuts)):
        if cut - before in _SURE and behind - cut in _SURE:
            yield cut + 1


def _windows(
    chunks: Sequence[Node], ends: Sequence[int], asked: Sequence[tuple[int, int]], *, settled: bool
) -> Iterator[tuple[int, int]]:
    """Indexes of the first chunk of each window, and behind its last one."""
    window: tuple[int, int] | None = None
    for start, end in asked:
        first, stop = bisect_right(ends, start), bisect_right(ends, end - 1) + 1
        if window is not None and first < window[1]:  # asked for what the last window has gone on to
            first, stop = window[0], max(stop, window[1])
        elif window is not None:
            yield window
        behind = 0
        while settled and stop < len(chunks):
            stop += 1
            behind += 1
            if behind >= 2 and all(chunk.size in _SETTLED for chunk in chunks[stop - 2 : stop]):
                break
        window = first, stop
    if window is not None:
        yield window
