import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.values.printable import printable
from fusefs.view import words


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1024, "1.0 KiB"),
        (102_298, "99.9 KiB"),
        (102_400, "100 KiB"),
        (1 << 20, "1.0 MiB"),
        (1_321_082_688, "1.2 GiB"),
        (1 << 44, "16.0 TiB"),
    ],
)
def test_a_size_has_at_most_three_digits(count: int, text: str) -> None:
    assert words.size(count) == text


@given(st.integers(0, 1 << 49))
def test_a_size_fits_its_column(count: int) -> None:
    assert len(words.size(count)) <= 8


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (3600, "1 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_time_has_at_most_two_units(duration: float, text: str) -> None:
    assert words.seconds(duration) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0%"),
        (1, 10**9, "1%"),
        (10**9 - 1, 10**9, "99%"),
        (10**9, 10**9, "100%"),
        (0, 0, "100%"),
    ],
)
def test_a_percentage_is_0_or_100_only_when_exactly_that(part: int, whole: int, text: str) -> None:
    assert words.percent(part, whole) == text


@given(st.text(max_size=60), st.integers(0, 60))
def test_an_elided_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = words.elide(text, width)
    assert len(short) <= width
    if len(text) <= width:
        assert short == text
    elif width >= 5:
        assert text.startswith(short.split("…")[0])
        assert short[-1] == text[-1]


def test_text_from_the_network_cannot_move_the_cursor() -> None:
    assert printable("a\x1b[2Jb\nc\u202ed é") == "a�[2Jb�c�d é"


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7199, "1 hour ago"),
        (86_400, "1 day ago"),
        (59 * 86_400, "59 days ago"),
        (61 * 86_400, "2 months ago"),
        (366 * 86_400, "1 year ago"),
    ],
)
def test_how_long_ago_as_a_person_says_it(duration: float, text: str) -> None:
    assert words.ago(duration) == text


@given(st.floats(0, 200 * 31_557_600))
def test_an_age_fits_its_column(duration: float) -> None:
    assert len(words.ago(duration)) <= 14
