"""Ranges against a set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fusefs.prefetch.ranges import Ranges

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: range(pair[0], sum(pair))))


@given(RANGES)
def test_what_is_new_is_just_what_was_not_there(added: list[range]) -> None:
    ranges, known = Ranges(), set[int]()
    for new in added:
        fresh = ranges.add(new)
        assert [number for part in fresh for number in part] == sorted(set(new) - known)
        known |= set(new)
        assert len(ranges) == sum(number - 1 not in known for number in known), "neighbours are one"


def test_after_clear_all_is_new() -> None:
    ranges = Ranges()
    ranges.add(range(5, 9))
    ranges.clear()
    assert ranges.add(range(4, 10)) == [range(4, 10)]
