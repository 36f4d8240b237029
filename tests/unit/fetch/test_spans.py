"""Spans: how many neighbouring chunks one request asks for."""

from __future__ import annotations

import pytest

from fusefs.fetch.spans import plan, runs, span_limit
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.settings import MIB

TEN = ChunkList.uniform(1000, 100)


@pytest.mark.parametrize(
    ("rate", "most", "limit"),
    [(0, 64, 8), (MIB, 64, 8), (320 * MIB, 64, 16), (100e9, 64, 64), (100e9, 16, 16), (0, 1, 1)],
)
def test_a_span_is_a_twentieth_of_a_second_within_bounds(rate: float, most: int, limit: int) -> None:
    assert span_limit(rate, most * MIB) == limit * MIB


@pytest.mark.parametrize(
    ("first", "limit", "wanted", "span"),
    [
        (0, 300, {0, 1, 2, 3, 4}, range(3)),
        (0, 399, {0, 1, 2, 3, 4}, range(3)),
        (0, 10_000, {0, 1, 3, 4}, range(2)),
        (4, 10_000, set(range(10)), range(4, 10)),
        (9, 10_000, {9}, range(9, 10)),
        (2, 1, {2, 3}, range(2, 3)),
        (2, 10_000, {1, 2}, range(2, 3)),
    ],
)
def test_a_span_goes_over_wanted_neighbours_up_to_its_limit(
    first: int, limit: int, wanted: set[int], span: range
) -> None:
    assert plan(TEN, first, limit, wanted.__contains__) == span


def test_a_chunk_that_is_larger_than_the_limit_is_a_span_of_its_own() -> None:
    single = ChunkList.single(Blob(Digest.of(b"x"), 1 << 30))
    assert plan(single, 0, MIB, lambda _: True) == range(1)


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([], []),
        ([3], [range(3, 4)]),
        ([0, 1, 2], [range(3)]),
        ([0, 2, 3, 7], [range(1), range(2, 4), range(7, 8)]),
    ],
)
def test_runs_are_groups_of_neighbours(indices: list[int], expected: list[range]) -> None:
    assert runs(indices) == expected
