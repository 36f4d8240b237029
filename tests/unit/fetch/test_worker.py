"""The worker: one span, source after source, and every chunk told of once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.chunkmap import PRESENT
from fusefs.errors import CacheError, Cancelled, DigestMismatch, NotFound, SourceError
from fusefs.fetch.worker import Origin, fetch_span
from fusefs.values import metrics
from fusefs.values.chunks import Chunk
from fusefs.values.counters import Counters
from tests.chunkers import opened
from tests.fake_source import FakeSource, fail, flip
from tests.world import NAME, some_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.cache.blob.chunker import Chunker

DATA = some_bytes(1000)


def source_of(label: str = "fake") -> FakeSource:
    source = FakeSource(label)
    source.add(DATA)
    return source


def fetch(chunker: Chunker, span: list[int], *sources: FakeSource) -> tuple[dict[int, BaseException | None], Counters]:
    told: dict[int, BaseException | None] = {}

    def landed(index: int, error: BaseException | None) -> None:
        assert index not in told, "told twice"
        told[index] = error
        assert (error is None) == (chunker.map[index] == PRESENT)

    counters = Counters()
    fetch_span(chunker, span, [Origin(s, NAME) for s in sources], memoryview(bytearray(100)), counters, landed)
    assert sorted(told) == span
    return told, counters


def test_neighbours_are_one_request_and_gaps_are_not_asked_for(tmp_path: Path) -> None:
    source = source_of()
    with opened(tmp_path, DATA) as chunker:
        told, counters = fetch(chunker, [1, 2, 5, 9], source)
        assert not any(told.values())
        assert chunker.pread(900, 100) == DATA[900:]
    assert source.asked == [Chunk(100, 299), Chunk(500, 599), Chunk(900, 999)]
    assert (counters[metrics.BYTES_FETCHED], counters[metrics.CHUNKS_VERIFIED]) == (400, 4)


@pytest.mark.logs("does not match its digest")
def test_a_wrong_chunk_in_the_middle_does_not_stop_those_behind_it(tmp_path: Path) -> None:
    source = source_of()
    source.faults.append(flip)
    with opened(tmp_path, DATA) as chunker:
        told, counters = fetch(chunker, [0, 1, 2], source)
    assert not any(told.values())
    assert source.asked == [Chunk(0, 299), Chunk(100, 199)]
    assert (counters[metrics.CHUNKS_REJECTED], counters[metrics.CHUNKS_VERIFIED], counters[metrics.BYTES_FETCHED]) == (
        1,
        3,
        400,
    )


@pytest.mark.logs("does not match its digest")
def test_wrong_twice_is_the_source_and_the_next_one_is_asked(tmp_path: Path) -> None:
    liar, honest = source_of("liar"), source_of("honest")
    liar.always = flip
    with opened(tmp_path, DATA) as chunker:
        told, _ = fetch(chunker, [4], liar, honest)
    assert told == {4: None}
    assert (len(liar.asked), len(honest.asked)) == (2, 1)


@pytest.mark.logs("does not match its digest")
def test_wrong_everywhere_is_a_digest_mismatch(tmp_path: Path) -> None:
    one, two = source_of(), source_of()
    one.always = two.always = flip
    with opened(tmp_path, DATA) as chunker:
        told, _ = fetch(chunker, [4], one, two)
    assert isinstance(told[4], DigestMismatch)


def test_trouble_is_not_tried_twice_at_one_source(tmp_path: Path) -> None:
    """The source itself has retried it already."""
    one, two = source_of(), source_of()
    one.always = two.always = fail
    with opened(tmp_path, DATA) as chunker:
        told, _ = fetch(chunker, [4, 5], one, two)
    assert [type(error) for error in told.values()] == [SourceError, SourceError]
    assert (len(one.asked), len(two.asked)) == (1, 1)


def test_a_stream_that_breaks_off_keeps_what_came_and_the_next_source_has_the_rest(tmp_path: Path) -> None:
    one, two = source_of(), source_of()
    one.faults.append(lambda chunk, data: data[:250])
    with opened(tmp_path, DATA) as chunker:
        told, _ = fetch(chunker, [0, 1, 2, 3], one, two)
    assert not any(told.values())
    assert two.asked == [Chunk(200, 399)]


def test_no_source_is_not_found(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        told, _ = fetch(chunker, [0])
    assert isinstance(told[0], NotFound)


def test_a_closed_source_is_cancelled_and_nobody_else_is_asked(tmp_path: Path) -> None:
    one, two = source_of(), source_of()
    one.close()
    with opened(tmp_path, DATA) as chunker:
        told, _ = fetch(chunker, [0, 3], one, two)
    assert [type(error) for error in told.values()] == [Cancelled, Cancelled]
    assert not two.asked


def test_a_broken_disk_is_no_reason_to_ask_another_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise OSError(5, "Input/output error")

    one, two = source_of(), source_of()
    with opened(tmp_path, DATA) as chunker:
        monkeypatch.setattr("fusefs.system.files.os.pwrite", refuse)
        told, _ = fetch(chunker, [0, 1, 4], one, two)
    assert all(isinstance(error, CacheError) for error in told.values())
    assert not two.asked


@pytest.mark.logs("a worker failed")
def test_a_bug_is_told_to_those_who_wait(tmp_path: Path) -> None:
    source = source_of()

    def bug(chunk: Chunk, data: bytes) -> bytes:
        raise ZeroDivisionError

    source.always = bug
    with opened(tmp_path, DATA) as chunker:
        told, _ = fetch(chunker, [0, 1], source)
    assert all(isinstance(error, ZeroDivisionError) for error in told.values())
