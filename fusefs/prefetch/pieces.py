"""Pieces: whether a recorded load went through its blob in pieces so long that a large window of the kernel is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from fusefs.values.trace import Trace

_PIECE = 16 * MIB
"""Bytes read in one go, on average: a window of 1 MiB past the end of each piece is 6 % too much at most."""


def reads_long_pieces(trace: Trace | None) -> bool:
    """Whether the load was of long pieces.  In which order the pieces came does not matter to a window."""
    if trace is None or not trace.ranges:
        return False
    return sum(stop - start for start, stop in trace.ranges) >= _PIECE * len(trace.ranges)
