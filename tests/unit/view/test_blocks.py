import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.view.blocks import bar, resample, shade

fractions = st.lists(st.floats(0, 1), min_size=1, max_size=80)


@given(fractions, st.integers(1, 100))
def test_resampling_keeps_the_total(presence: list[float], cells: int) -> None:
    out = resample(presence, cells)
    assert len(out) == cells
    assert sum(out) / cells == pytest.approx(sum(presence) / len(presence), abs=1e-6)


@given(st.integers(1, 100), st.integers(1, 100))
def test_a_whole_file_is_a_full_bar_and_none_of_it_an_empty_one(parts: int, cells: int) -> None:
    assert bar([1.0] * parts, cells) == "█" * cells
    assert bar([0.0] * parts, cells) == " " * cells


def test_a_bar_shows_which_parts_are_there() -> None:
    assert bar([1, 1, 0, 0, 0, 1, 0, 0], 8) == "██   █  "
    assert bar([1, 1, 0, 0, 0, 1, 0, 0], 4) == "█ ▒ "


def test_a_trace_is_not_nothing_and_nearly_all_is_not_all() -> None:
    assert [shade(f) for f in (0, 0.001, 0.3, 0.5, 0.999, 1)] == [" ", "░", "░", "▒", "▓", "█"]


def test_an_unknown_presence_is_an_empty_bar() -> None:
    assert bar([], 5) == "     "
