"""What `ls` and `status` are told of how much is on disk, and what it costs to say so."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.cache.blob.mapfile import ABSENT, ARRIVED, CLAIMED, PRESENT
from fusefs.cache.blob.presence import EXACT, about, bytes_on_disk, fractions, ranges_on_disk

STATES = st.lists(st.sampled_from((ABSENT, PRESENT, CLAIMED, ARRIVED)), min_size=1, max_size=60).map(bytes)


@given(STATES, st.integers(1, 9), st.integers(1, 9))
def test_equal_chunks_are_counted_to_the_byte(states: bytes, width: int, last: int) -> None:
    last = min(last, width)
    size = width * (len(states) - 1) + last
    exact = sum(width if i < len(states) - 1 else last for i, state in enumerate(states) if state)
    for starts in (range(0, size, width), array("Q", range(0, size, width))):
        assert bytes_on_disk(size, starts, states) == exact
        assert sum(stop - start for start, stop in ranges_on_disk(size, starts, states)) == exact


@given(STATES, st.integers(0, 1000))
def test_what_is_told_of_many_unequal_chunks_is_nothing_or_all_only_when_it_is(states: bytes, more: int) -> None:
    many = states + bytes(EXACT)
    size = len(many) + more
    starts = array("Q", [*range(len(many) - 1), size - 1])
    told = bytes_on_disk(size, starts, many)
    assert told == about(size, many)
    assert (told > 0) == any(many)
    assert told < size
    assert about(size, bytes([PRESENT]) * len(many)) == size


def test_a_map_without_chunks_has_nothing() -> None:
    assert about(10, b"") == 0
    assert bytes_on_disk(0, range(0), b"") == 0


@pytest.mark.parametrize("cells", [1, 3, 7])
def test_fractions_of_cells_add_up(cells: int) -> None:
    states = bytes([PRESENT, ABSENT] * 5000)
    assert len(fractions(states, cells)) == cells
    assert sum(fractions(states, cells)) / cells == pytest.approx(0.5, abs=0.01)
