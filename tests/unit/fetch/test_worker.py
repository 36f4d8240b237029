"""The worker: one span, source after source, and every chunk told of once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusefs.cache.blob.mapfile import PRESENT
from fusefs.cache.memory.buffer import Buffer
from fusefs.errors import (
    CacheError,
    Cancelled,
    DigestMismatch,
    NotFound,
    SourceError,
    StreamTaken,
    UnexpectedEnd,
)
from fusefs.fetch.wholestream import Verdict
from fusefs.fetch.worker import fetch_span
from fusefs.sources.bound import BoundSource
from fusefs.sources.failover import Failover
from fusefs.values import metrics
from fusefs.values.chunks import Chunk
from fusefs.values.counters import Counters
from tests.chunkers import opened
from tests.fake_source import FakeSource, fail, flip
from tests.world import NAME, some_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.wholestream import Along

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
    fetch_span(
        chunker, span, Failover([BoundSource(s, NAME) for s in sources]), Buffer(bytearray(100)), counters, landed
    )
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


class Streams:
    """An Along that lets chunks be taken along, as the dispatcher does."""

    def __init__(self, *take: int, begins: bool = True, stop: int = len(DATA)) -> None:
        self.passed: list[int] = []
        self._take = set(take)
        self._begins = begins
        self._stop = stop

    def entire(self) -> bool:
        return False

    def begin(self) -> bool:
        return self._begins

    def claim(self, index: int) -> Verdict:
        self.passed.append(index)
        if index >= self._stop:
            return Verdict.STOP
        if index not in self._take:
            return Verdict.SKIP
        self._take.discard(index)
        return Verdict.TAKE


def stream(chunker: Chunker, span: list[int], along: Along, *sources: FakeSource) -> dict[int, BaseException | None]:
    told: dict[int, BaseException | None] = {}

    def landed(index: int, error: BaseException | None) -> None:
        assert index not in told, "told twice"
        told[index] = error

    for source in sources:
        source.ignores_range = True
    origins = Failover([BoundSource(s, NAME) for s in sources])
    fetch_span(chunker, span, origins, Buffer(bytearray(70)), Counters(), landed, along=along)
    return told


def test_a_stream_of_the_whole_brings_what_is_wanted_and_what_is_taken_along(tmp_path: Path) -> None:
    source = source_of()
    with opened(tmp_path, DATA) as chunker:
        assert stream(chunker, [3, 6], Streams(1, 5, 8), source) == dict.fromkeys((1, 3, 5, 6, 8))
        assert [i for i in range(10) if chunker.present(i)] == [1, 3, 5, 6, 8]
    assert source.asked == [Chunk(300, 399)]


def test_a_stream_is_left_when_all_behind_is_here(tmp_path: Path) -> None:
    source, along = source_of(), Streams()
    with opened(tmp_path, DATA) as chunker:
        fetch(chunker, [5, 6, 7, 8, 9], source_of())
        assert stream(chunker, [3], along, source) == {3: None}
    assert along.passed == [0, 1, 2, 3, 4], "the fourth may still be taken along"


def test_a_stream_is_left_when_nothing_more_of_it_can_be_used(tmp_path: Path) -> None:
    along = Streams(stop=2)
    with opened(tmp_path, DATA) as chunker:
        assert stream(chunker, [3], along, source_of()) == {3: None}
    assert along.passed == [0, 1, 2, 3, 4]


def test_who_comes_second_leaves_its_chunks_to_the_stream(tmp_path: Path) -> None:
    with opened(tmp_path, DATA) as chunker:
        told = stream(chunker, [3, 6], Streams(begins=False), source_of())
    assert {type(error) for error in told.values()} == {StreamTaken}
    assert sorted(told) == [3, 6]


@pytest.mark.logs("does not match its digest")
def test_what_is_wrong_in_a_stream_is_had_from_another_one(tmp_path: Path) -> None:
    source = source_of()
    source.faults.append(flip)  # in chunk 5
    with opened(tmp_path, DATA) as chunker:
        assert stream(chunker, [3], Streams(5, 7), source) == dict.fromkeys((3, 5, 7))
    assert source.asked == [Chunk(300, 399), Chunk(500, 599)]


def test_a_stream_that_ends_early_is_told_to_all_who_wait(tmp_path: Path) -> None:
    source = source_of()
    source.always = lambda _chunk, data: data[:450]
    with opened(tmp_path, DATA) as chunker:
        told = stream(chunker, [3, 6], Streams(5), source)
    assert told.pop(3) is None
    assert {type(error) for error in told.values()} == {UnexpectedEnd}
    assert sorted(told) == [6], "nobody has begun with the fifth"
