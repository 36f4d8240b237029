"""Leaves take their hashes from the bytes that are to be accepted, whatever pieces these come in."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import DigestMismatch
from fusefs.sources.hub.leaves import Leaves
from fusefs.values.chunks import Chunk
from fusefs.xet.xethash import chunk_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = bytes(range(256)) * 8


def _leaves(edges: Sequence[int], chunk: Chunk) -> Leaves:
    """Of DATA, cut at `edges`; those that `chunk` cuts have their bytes."""
    leaves = Leaves()
    for start, stop in pairwise(edges):
        leaf = leaves.add(start, stop)
        if start < chunk.start or stop > chunk.stop:
            leaf.data = DATA[start:stop]
            leaf.hash = chunk_hash(leaf.data)
    return leaves


@given(
    st.lists(st.integers(1, 300), min_size=1).map(lambda sizes: [e for e in accumulate(sizes, initial=0) if e < 2048]),
    st.integers(0, 2047),
    st.integers(0, 2047),
    st.integers(1, 400),
    st.none() | st.integers(0, 2047),
)
def test_every_leaf_is_hashed_and_every_other_byte_is_noticed(
    edges: list[int], first: int, last: int, piece: int, flip: int | None
) -> None:
    edges = [*edges, len(DATA)]
    chunk = Chunk(min(first, last), max(first, last))
    leaves = _leaves(edges, chunk)
    data = bytearray(DATA[chunk.start : chunk.stop])
    if flip is not None:
        data[flip % len(data)] ^= 1
    pieces = (bytes(data[off : off + piece]) for off in range(0, len(data), piece))
    right = [chunk_hash(DATA[start:stop]) for start, stop in pairwise(edges)]
    try:
        leaves.hash_by(chunk, pieces)
    except DigestMismatch:
        assert flip is not None
        return
    found = [node.hash for node in leaves.nodes(Chunk(0, len(DATA) - 1))]
    within = [start < chunk.stop and stop > chunk.start for start, stop in pairwise(edges)]
    assert (flip is None) == all(found[i] == right[i] for i in range(len(right)) if within[i])


def test_p1_too_few_bytes_and_another_hash_than_the_known_one_do_not_match() -> None:
    chunk = Chunk(0, 199)
    leaves = _leaves([0, 100, 200], chunk)
    leaves.hash_by(chunk, [DATA[:200]])
    leaves.hash_by(chunk, [DATA[:200]])
    with pytest.raises(DigestMismatch):
        leaves.hash_by(chunk, [DATA[:199]])
    with pytest.raises(DigestMismatch):
        leaves.hash_by(chunk, [])


def test_they_are_known_from_where_they_begin() -> None:
    leaves = Leaves()
    assert not leaves.hashed(0, 10)
    for start in range(100, 200, 10):
        leaves.add(start, start + 10).hash = bytes(32)
    assert leaves.hashed(100, 200)
    assert leaves.hashed(105, 110)
    assert not leaves.hashed(99, 110)
    leaves.between(150, 160)[0].hash = None
    assert not leaves.hashed(100, 200)
    assert leaves.hashed(100, 150)
    leaves.cut(140)
    assert [leaf.start for leaf in leaves.between(0, 1000)] == [100, 110, 120, 130]
