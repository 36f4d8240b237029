"""Retrying: what is tried again, how long, and what wakes it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import (
    Cancelled,
    FusefsError,
    NotFound,
    ResponseError,
    StallTimeout,
    TransportError,
    WrongResponse,
)
from fusefs.net.clock import SystemClock
from fusefs.sources.retry import MANIFEST_TIMEOUT, Retrying
from fusefs.values import metrics
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.counters import Counters
from fusefs.values.digest import Digest
from fusefs.values.names import Name
from tests.patience import HANGS
from tests.reading import FakeClock, InThread, read_blob, read_range

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = bytes(range(250)) * 1000
BLOB = Blob(Digest.of(DATA), len(DATA))
NAME = Name.parse("m")


class ScriptedSource:
    """Fails as it is told, then gives what it has.

    Attributes:
        failures: one for each call, None for none.
        breaks: for each body, after how many bytes it fails with what.
    """

    label = "scripted"

    def __init__(self) -> None:
        self.failures: list[FusefsError | None] = []
        self.breaks: list[tuple[int, FusefsError]] = []
        self.always: FusefsError | None = None
        self.spans: list[Chunk] = []
        self.calls = 0
        self.open_bodies = 0
        self.closed = False

    def manifest(self, name: Name) -> bytes:
        self._call()
        return str(name).encode()

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:
        self._call()
        return ChunkList.single(blob)

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> ScriptedBody:
        self.spans.append(chunk)
        self._call()
        self.open_bodies += 1
        return ScriptedBody(self, chunk, self.breaks.pop(0) if self.breaks else None)

    def close(self) -> None:
        self.closed = True

    def _call(self) -> None:
        self.calls += 1
        failure = self.failures.pop(0) if self.failures else self.always
        if failure is not None:
            raise failure


class ScriptedBody:
    def __init__(self, source: ScriptedSource, chunk: Chunk, breaks: tuple[int, FusefsError] | None) -> None:
        self.given = chunk
        self._source = source
        self._off = chunk.start
        self._stop = chunk.stop
        self._breaks = (chunk.start + breaks[0], breaks[1]) if breaks else None
        self._open = True

    def readinto(self, buffer: memoryview) -> int:
        stop = min(self._stop, self._off + len(buffer), self._breaks[0] if self._breaks else self._stop)
        if self._breaks and self._off == self._breaks[0]:
            raise self._breaks[1]
        got = stop - self._off
        buffer[:got] = DATA[self._off : stop]
        self._off = stop
        return got

    def close(self) -> None:
        if self._open:
            self._source.open_bodies -= 1
        self._open = False


@pytest.fixture
def inner() -> ScriptedSource:
    return ScriptedSource()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def source(inner: ScriptedSource, clock: FakeClock, counters: Counters) -> Retrying:
    return Retrying(inner, timeout=300, counters=counters, clock=clock)


CALLS: dict[str, Callable[[Retrying], object]] = {
    "manifest": lambda source: source.manifest(NAME),
    "chunk_list": lambda source: source.chunk_list(NAME, BLOB),
    "open_range": lambda source: source.open_range(NAME, BLOB, Chunk(0, 9)),
}


@pytest.fixture(params=sorted(CALLS))
def call(request: pytest.FixtureRequest) -> Callable[[Retrying], object]:
    return CALLS[request.param]


def test_trouble_is_tried_again(
    call: Callable[[Retrying], object], source: Retrying, inner: ScriptedSource, counters: Counters
) -> None:
    inner.failures = [TransportError("reset"), StallTimeout("silence"), WrongResponse("200"), None]
    assert call(source) is not None
    assert (counters[metrics.REQUESTS], counters[metrics.RETRIES]) == (4, 3)


def test_p6_what_is_final_fails_at_once(
    call: Callable[[Retrying], object], source: Retrying, inner: ScriptedSource, clock: FakeClock
) -> None:
    inner.failures = [NotFound("no")]
    with pytest.raises(NotFound):
        call(source)
    assert (inner.calls, clock.waits) == (1, [])


def test_waits_grow_to_15_seconds(source: Retrying, inner: ScriptedSource, clock: FakeClock) -> None:
    inner.failures = [TransportError("reset") for _ in range(10)]
    source.chunk_list(NAME, BLOB)
    assert clock.waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15, 15])


def test_p6_trouble_without_end_ends_within_the_timeout(
    call: Callable[[Retrying], object], source: Retrying, inner: ScriptedSource, clock: FakeClock
) -> None:
    inner.always = TransportError("reset")
    with pytest.raises(TransportError, match="reset"):
        call(source)
    assert clock.time - 1000 <= 300
    assert inner.calls > 5


def test_p7_a_manifest_is_not_waited_for_as_long(source: Retrying, inner: ScriptedSource, clock: FakeClock) -> None:
    inner.always = TransportError("no network")
    with pytest.raises(TransportError):
        source.manifest(NAME)
    assert clock.time - 1000 <= MANIFEST_TIMEOUT


def _busy(seconds: float) -> ResponseError:
    return ResponseError("busy", source="s", status=429, retry_after=seconds, temporary=True)


def test_retry_after_is_waited_for(source: Retrying, inner: ScriptedSource, clock: FakeClock) -> None:
    inner.failures = [_busy(42), _busy(0)]
    source.chunk_list(NAME, BLOB)
    assert clock.waits == [42, 0.2]


def test_p6_a_retry_after_behind_the_deadline_is_not_waited_for(
    source: Retrying, inner: ScriptedSource, clock: FakeClock
) -> None:
    inner.failures = [_busy(301)]
    with pytest.raises(ResponseError):
        source.chunk_list(NAME, BLOB)
    assert clock.waits == []


def test_an_answer_that_stays_wrong_is_believed(source: Retrying, inner: ScriptedSource) -> None:
    inner.always = WrongResponse("200 for a range")
    with pytest.raises(WrongResponse):
        source.open_range(NAME, BLOB, Chunk(0, 9))
    assert inner.calls == 6


def test_a_body_goes_on_where_it_broke(source: Retrying, inner: ScriptedSource, counters: Counters) -> None:
    inner.breaks = [(100, TransportError("reset")), (0, StallTimeout("silence")), (50, TransportError("reset"))]
    assert read_range(source, NAME, BLOB, 10, 999) == DATA[10:1000]
    assert inner.spans == [Chunk(10, 999), Chunk(110, 999), Chunk(110, 999), Chunk(160, 999)]
    assert (counters[metrics.REQUESTS], counters[metrics.RETRIES]) == (4, 3)
    assert inner.open_bodies == 0


def test_a_body_that_broke_may_fail_for_good(source: Retrying, inner: ScriptedSource) -> None:
    inner.breaks = [(100, TransportError("reset"))]
    inner.failures = [None, NotFound("gone")]
    with pytest.raises(NotFound):
        read_blob(source, NAME, BLOB)
    assert inner.open_bodies == 0


def test_a_slow_body_that_gains_ground_goes_on_beyond_the_timeout(
    source: Retrying, inner: ScriptedSource, clock: FakeClock
) -> None:
    """Three times 70,000 bytes with 200 s of waiting each: more than `timeout` in all, and every byte arrives."""
    inner.breaks = [(70_000, _busy(200)), (70_000, _busy(200)), (70_000, _busy(200))]
    assert read_blob(source, NAME, BLOB) == DATA
    assert clock.time - 1000 >= 600


def test_p6_a_trickling_body_ends_within_the_timeout(source: Retrying, inner: ScriptedSource, clock: FakeClock) -> None:
    """A byte before each break is no progress that would buy more time."""
    inner.breaks = [(1, _busy(20)) for _ in range(100)]
    with pytest.raises(ResponseError):
        read_blob(source, NAME, BLOB)
    assert clock.time - 1000 <= 300


def test_a_reader_that_pauses_does_not_use_up_the_time(
    source: Retrying, inner: ScriptedSource, clock: FakeClock
) -> None:
    inner.breaks = [(70_000, TransportError("idle connection dropped"))]
    body = source.open_range(NAME, BLOB, Chunk(0, len(DATA) - 1))
    assert body.readinto(memoryview(bytearray(70_000))) == 70_000
    clock.time += 1000  # the reader waits for memory
    assert body.readinto(memoryview(bytearray(5))) == 5
    body.close()


class Telling(SystemClock):
    """Tells that somebody waits, and lets him wait long."""

    def __init__(self) -> None:
        self.waiting = threading.Event()

    def wait(self, event: threading.Event, seconds: float) -> None:
        self.waiting.set()
        super().wait(event, 2 * HANGS)


def test_p11_closing_wakes_who_waits_for_the_next_try(
    call: Callable[[Retrying], object], inner: ScriptedSource, counters: Counters
) -> None:
    clock = Telling()
    source = Retrying(inner, timeout=300, counters=counters, clock=clock)
    inner.always = TransportError("reset")
    calling = InThread(lambda: call(source))
    assert clock.waiting.wait(HANGS)
    source.close()
    with pytest.raises(Cancelled):
        calling.result()
    assert inner.closed


def test_p11_closing_a_body_wakes_its_reader(inner: ScriptedSource, counters: Counters) -> None:
    clock = Telling()
    source = Retrying(inner, timeout=300, counters=counters, clock=clock)
    inner.breaks = [(10, TransportError("reset"))]
    body = source.open_range(NAME, BLOB, Chunk(0, 99))
    assert body.readinto(memoryview(bytearray(10))) == 10
    reading = InThread(lambda: body.readinto(memoryview(bytearray(10))))
    assert clock.waiting.wait(HANGS)
    body.close()
    with pytest.raises(Cancelled):
        reading.result()
    assert inner.open_bodies == 0


def test_a_closed_source_makes_no_request(source: Retrying, inner: ScriptedSource) -> None:
    source.close()
    with pytest.raises(Cancelled):
        source.manifest(NAME)
    assert inner.calls == 0


def test_the_real_clock_waits_no_longer_than_told() -> None:
    clock = SystemClock()
    before = clock.now()
    clock.wait(threading.Event(), 0.01)
    assert clock.now() - before >= 0.009
    assert all(0 <= clock.jitter(3) <= 3 for _ in range(100))
