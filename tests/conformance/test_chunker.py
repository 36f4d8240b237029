"""README.md, §3: what `Chunker.put` takes, and what it refuses."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.sealing import seal
from fusefs.errors import DigestMismatch, InvalidChunk, SizeMismatch, SourceError, UnexpectedEnd
from fusefs.values.chunks import Chunk, ChunkList
from fusefs.values.digest import Digest
from tests.chunkers import Bytes, opened, place_of, put
from tests.world import some_bytes

if TYPE_CHECKING:
    from pathlib import Path

DATA = some_bytes(350)
FIRST = Chunk(0, 99)
"""The first of four chunks of 100 bytes; the last has 50."""


def test_a_chunk_is_inclusive_at_both_ends() -> None:
    assert Chunk(3, 3).size == 1
    assert Chunk(0, 99).size == 100


def test_put_takes_exactly_the_chunks_bytes_and_stores_them(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        put(chunker, DATA, 100, 199)
        assert chunker.missing(0, 350) == [0, 2, 3]
        assert chunker.pread(100, 100) == DATA[100:200]
        assert chunker.present_bytes == 100


@pytest.mark.parametrize("piece", [1, 7, 99, 100, 1000])
def test_put_takes_a_reader_in_pieces_of_any_size(tmp_path: Path, piece: int) -> None:
    with opened(tmp_path, DATA) as chunker:
        chunker.put(FIRST, Digest.of(DATA[:100]), Bytes(DATA[:100], piece))
        assert chunker.pread(0, 100) == DATA[:100]


@pytest.mark.parametrize("size", [0, 1, 99])
def test_fewer_bytes_are_an_unexpected_end(tmp_path: Path, size: int) -> None:
    with opened(tmp_path, DATA) as chunker:
        with pytest.raises(UnexpectedEnd):
            chunker.put(FIRST, Digest.of(DATA[:100]), Bytes(DATA[:size]))
        assert chunker.missing(0, 100) == [0]
        assert not any(place_of(tmp_path, DATA).data.read_bytes()), "nothing was written"


@pytest.mark.parametrize("at", [0, 50, 99])
def test_p1_other_bytes_are_a_digest_mismatch_and_not_written(tmp_path: Path, at: int) -> None:
    wrong = bytearray(DATA[:100])
    wrong[at] ^= 1
    with opened(tmp_path, DATA) as chunker:
        with pytest.raises(DigestMismatch) as caught:
            chunker.put(FIRST, Digest.of(DATA[:100]), Bytes(bytes(wrong)))
        assert caught.value.expected == str(Digest.of(DATA[:100]))
        assert caught.value.actual == str(Digest.of(wrong))
        assert chunker.missing(0, 100) == [0]
        assert not any(place_of(tmp_path, DATA).data.read_bytes())


def test_more_bytes_than_announced_are_an_error_and_not_written(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        with pytest.raises(SizeMismatch):
            chunker.put(FIRST, Digest.of(DATA[:100]), Bytes(DATA[:101]))
        assert chunker.missing(0, 100) == [0]
        assert not any(place_of(tmp_path, DATA).data.read_bytes())


def test_a_digest_that_is_not_the_lists_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    other = some_bytes(100, seed=9)
    reader = Bytes(other)
    with opened(tmp_path, DATA) as chunker:
        with pytest.raises(DigestMismatch):
            chunker.put(FIRST, Digest.of(other), reader)
        assert not reader.taken


@pytest.mark.parametrize(("start", "end"), [(0, 98), (0, 100), (1, 99), (100, 299), (300, 399), (350, 350)])
def test_a_chunk_that_the_list_does_not_have_is_refused(tmp_path: Path, start: int, end: int) -> None:
    with opened(tmp_path, DATA) as chunker, pytest.raises(InvalidChunk):
        put(chunker, DATA, start, end)


def test_a_reader_that_fails_leaves_the_chunk_absent_and_its_error_comes_through(tmp_path: Path) -> None:
    def reader(buffer: memoryview) -> int:
        raise SourceError("the cable", source="test")

    with opened(tmp_path, DATA) as chunker:
        with pytest.raises(SourceError, match="the cable"):
            chunker.put(FIRST, Digest.of(DATA[:100]), reader)
        put(chunker, DATA, 0, 99)
        assert chunker.pread(0, 100) == DATA[:100]


def test_a_put_of_a_present_chunk_is_a_no_op_that_reads_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        put(chunker, DATA, 0, 99)
        reader = Bytes(DATA[:100])
        chunker.put(FIRST, Digest.of(DATA[:100]), reader)
        assert not reader.taken


@pytest.mark.parametrize("order", list(itertools.permutations([(0, 99), (100, 199), (200, 299), (300, 349)]))[::5])
def test_chunks_may_arrive_in_any_order(tmp_path: Path, order: tuple[tuple[int, int], ...]) -> None:
    with opened(tmp_path, DATA) as chunker:
        for start, end in order:
            put(chunker, DATA, start, end)
        assert seal(chunker)
    assert place_of(tmp_path, DATA).sealed.read_bytes() == DATA


def test_chunks_may_arrive_concurrently(tmp_path: Path) -> None:
    data = some_bytes(40 * 100)
    errors: list[BaseException] = []
    with opened(tmp_path, data) as chunker:

        def work(first: int) -> None:
            try:
                for index in range(first, 40, 3):  # every chunk is put by one or two of the threads
                    put(chunker, data, index * 100, index * 100 + 99)
            except Exception as exc:
                errors.append(exc)

        threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1, 2, 0, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert seal(chunker)
    assert place_of(tmp_path, data).sealed.read_bytes() == data


def test_put_proves_a_blob_without_a_list_as_a_whole(tmp_path: Path) -> None:
    """What arrives in order is hashed on the way; the digests of its chunks must be kept as well."""
    with opened(tmp_path, DATA, chunks=ChunkList.uniform(len(DATA), 100)) as chunker:
        for start in range(0, 350, 100):
            put(chunker, DATA, start, min(start + 99, 349))
        assert chunker.missing(0, 350) == [0, 1, 2, 3], "nothing is served before the whole is proved"
        assert seal(chunker)
        assert not chunker.missing(0, 350)
        assert chunker.chunks.complete


def test_a_sealed_blob_needs_nothing_more(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        for start in range(0, 350, 100):
            put(chunker, DATA, start, min(start + 99, 349))
        seal(chunker)
    with opened(tmp_path, DATA) as chunker:
        assert chunker.sealed
        assert not chunker.missing(0, 350)
        reader = Bytes(DATA)
        chunker.put(FIRST, Digest.of(DATA[:100]), reader)
        assert not reader.taken
        assert chunker.pread(0, 1000) == DATA
