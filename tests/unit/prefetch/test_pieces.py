"""What a recorded load says of the kernel's window: a copy is in order, a loader that jumps about is not."""

from __future__ import annotations

import pytest

from fusefs.prefetch.pieces import reads_long_pieces
from fusefs.values.settings import MIB
from fusefs.values.trace import Trace

GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([(0, GIB)], True),
        ([(0, 512 * MIB), (768 * MIB, GIB), (512 * MIB, 768 * MIB)], True),
        ([(GIB - MIB, GIB), (0, GIB - MIB)], True),
        ([(MIB * i, MIB * (i + 1)) for i in range(0, 1024, 2)], False),
        ([(0, MIB)], False),
        ([(0, 16 * MIB), (32 * MIB, 33 * MIB)], False),
        ([], False),
    ],
)
def test_a_load_is_in_order_when_its_pieces_are_long(ranges: list[tuple[int, int]], expected: bool) -> None:
    assert reads_long_pieces(Trace.of(ranges)) is expected


def test_of_what_was_never_loaded_nothing_is_known() -> None:
    assert not reads_long_pieces(None)
