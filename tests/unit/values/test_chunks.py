"""Chunk and ChunkList as values; the text form is in tests/conformance."""

from __future__ import annotations

import pytest

from fusefs.errors import InvalidChunk, InvalidChunkList
from fusefs.values.chunklimits import MAX_CHUNKS
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest

DATA = bytes(range(10))


def three() -> ChunkList:
    """Chunks 0-3, 4-7, 8-9 of DATA."""
    plan = ChunkList.uniform(10, 4)
    return plan.with_digests(b"".join(Digest.of(DATA[c.start : c.stop]).raw for c in plan))


def test_chunks_are_ordered_by_offset() -> None:
    assert sorted([Chunk(4, 5), Chunk(0, 9), Chunk(0, 3)]) == [Chunk(0, 3), Chunk(0, 9), Chunk(4, 5)]


def test_uniform_chunks_cover_everything_and_the_last_is_shorter() -> None:
    assert list(ChunkList.uniform(10, 4)) == [Chunk(0, 3), Chunk(4, 7), Chunk(8, 9)]
    assert list(ChunkList.uniform(8, 4)) == [Chunk(0, 3), Chunk(4, 7)]
    assert list(ChunkList.uniform(3, 4)) == [Chunk(0, 2)]
    assert list(ChunkList.uniform(0, 4)) == []


def test_uniform_chunks_have_no_digests_until_they_are_given() -> None:
    plan = ChunkList.uniform(10, 4)
    assert not plan.complete
    proved = three()
    assert proved.complete
    assert proved.digest(2) == Digest.of(DATA[8:])
    assert proved.raw_digest(2) == Digest.of(DATA[8:]).raw
    assert plan != proved
    assert not plan.complete


@pytest.mark.parametrize("count", [0, 2, 4])
def test_there_are_as_many_digests_as_chunks(count: int) -> None:
    with pytest.raises(InvalidChunkList, match="for 3 chunks"):
        ChunkList.uniform(10, 4).with_digests(bytes(32 * count))


@pytest.mark.parametrize(("size", "chunk_size"), [(10, 0), (10, -1), (MAX_CHUNKS + 1, 1), (1 << 44, 1 << 20)])
def test_what_does_not_go_into_chunks_is_refused(size: int, chunk_size: int) -> None:
    with pytest.raises(InvalidChunkList, match="do not go into chunks"):
        ChunkList.uniform(size, chunk_size)


def test_a_single_chunk_is_the_blob() -> None:
    blob = Blob(Digest.of(DATA), 10)
    chunks = ChunkList.single(blob)
    assert list(chunks) == [Chunk(0, 9)]
    assert chunks.digest(0) == blob.digest
    assert chunks.complete


@pytest.mark.parametrize(
    ("off", "size", "expected"),
    [
        (0, 1, range(1)),
        (0, 4, range(1)),
        (0, 5, range(2)),
        (3, 1, range(1)),
        (4, 1, range(1, 2)),
        (3, 2, range(2)),
        (0, 10, range(3)),
        (0, 1000, range(3)),
        (9, 1, range(2, 3)),
        (9, 1000, range(2, 3)),
        (10, 1, range(0)),
        (1000, 1, range(0)),
        (5, 0, range(0)),
        (-1, 5, range(0)),
        (5, -1, range(0)),
    ],
)
def test_covering_names_the_chunks_of_a_range(off: int, size: int, expected: range) -> None:
    assert list(three().covering(off, size)) == list(expected)


def test_index_of_is_the_inverse_of_getitem() -> None:
    chunks = three()
    assert [chunks.index_of(chunk) for chunk in chunks] == [0, 1, 2]


@pytest.mark.parametrize("chunk", [Chunk(0, 2), Chunk(0, 4), Chunk(1, 3), Chunk(4, 9), Chunk(8, 10), Chunk(100, 101)])
def test_a_chunk_that_is_not_in_the_list_has_no_index(chunk: Chunk) -> None:
    with pytest.raises(InvalidChunk, match="no chunk"):
        three().index_of(chunk)


def test_an_empty_list_has_no_index_for_anything() -> None:
    with pytest.raises(InvalidChunk):
        ChunkList.uniform(0, 4).index_of(Chunk(0, 0))


def test_lists_are_equal_by_content_and_not_hashable() -> None:
    assert three() == three()
    assert three() != ChunkList.uniform(10, 5)
    assert three() != "chunks"
    with pytest.raises(TypeError):
        hash(three())


def test_an_index_behind_the_last_chunk_is_an_error() -> None:
    with pytest.raises(IndexError):
        _ = three()[3]


def test_packed_goes_back_to_the_same_list() -> None:
    for chunks in (three(), ChunkList.uniform(10, 4), ChunkList.uniform(0, 4)):
        assert ChunkList.from_packed(chunks.size, *chunks.packed()) == chunks
