"""Foresight: reads that threads have answered reach the policies, a few at a time, and nothing of them is lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fusefs.fetch.foresight import Foresight
from fusefs.prefetch.policy import Prefetch
from fusefs.values.chunks import ChunkList
from fusefs.values.settings import KIB, MIB
from tests.world import running, some_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.values.trace import Trace

SIZE = 256 * MIB
PIECE = 256 * KIB
RATE = 1e9


class Seen(Prefetch):
    """Policies that keep what they were shown.

    Attributes:
        reads: each read [start, stop).
    """

    def __init__(self) -> None:
        super().__init__(ChunkList.uniform(SIZE, MIB), 64 * MIB, cold=True)
        self.reads: list[tuple[int, int]] = []

    def observe(self, off: int, size: int, rate: float, *, tight: bool = False) -> list[range]:
        self.reads.append((off, off + size))
        return super().observe(off, size, rate, tight=tight)


def answer(foresight: Foresight, *pieces: int) -> list[range]:
    return [ahead for piece in pieces for ahead in foresight.answered(piece * PIECE, PIECE, RATE)]


def pieces(first: int, stop: int) -> tuple[int, int]:
    return first * PIECE, stop * PIECE


def test_reads_of_one_reader_are_shown_together_in_whatever_order_threads_have_them() -> None:
    seen = Seen()
    foresight = Foresight(seen)
    answer(foresight, 0, 2, 1, 4, 3)
    assert seen.reads == [pieces(0, 1), pieces(1, 5)]


def test_a_read_elsewhere_is_shown_at_once_after_those_before_it() -> None:
    seen = Seen()
    foresight = Foresight(seen)
    answer(foresight, 0, 1, 100)
    assert seen.reads == [pieces(0, 1), pieces(1, 2), pieces(100, 101)]


def test_a_read_that_waits_is_shown_at_once_after_those_before_it() -> None:
    seen = Seen()
    foresight = Foresight(seen)
    answer(foresight, 0, 1)
    foresight.observe(2 * PIECE, PIECE, RATE)
    assert seen.reads == [pieces(0, 1), pieces(1, 2), pieces(2, 3)]


def test_small_reads_are_not_held_back_until_they_are_a_megabyte() -> None:
    seen = Seen()
    foresight = Foresight(seen)
    for number in range(9):
        foresight.answered(number * 4096, 4096, RATE)
    assert seen.reads == [(0, 4096), (4096, 5 * 4096), (5 * 4096, 9 * 4096)]


def test_a_reader_whom_threads_answer_is_believed_and_fetched_ahead_of() -> None:
    foresight = Foresight(Prefetch(ChunkList.uniform(SIZE, MIB), 64 * MIB, without=frozenset({"tensors"})))
    ahead = answer(foresight, *range(64))
    assert ahead
    assert ahead[0].start <= 64 * PIECE + MIB
    assert sum(map(len, ahead)) >= 8 * MIB


def test_the_record_has_what_was_held_back() -> None:
    foresight = Foresight(Prefetch(ChunkList.uniform(SIZE, MIB), 64 * MIB, cold=True))
    answer(foresight, *range(38))
    trace = foresight.unsaved_record()
    assert trace is not None
    assert list(trace.ranges) == [(0, 10 * MIB)]


class OneAtATime(Seen):
    """They let others run while they think, and notice if one of those comes in.

    Attributes:
        met: how often somebody did.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0
        self._inside = 0
        self._never = threading.Event()

    def observe(self, off: int, size: int, rate: float, *, tight: bool = False) -> list[range]:
        self.met += self._inside
        self._inside += 1
        try:
            self._never.wait(0.0001)
            return super().observe(off, size, rate, tight=tight)
        finally:
            self._inside -= 1

    def unsaved_record(self) -> Trace | None:
        self.met += self._inside
        return super().unsaved_record()


def test_threads_and_the_event_loop_lose_no_read_and_meet_nowhere() -> None:
    seen = OneAtATime()
    foresight = Foresight(seen)
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(answer, foresight, *range(start, 400, 4)) for start in range(4)]
        while not all(one.done() for one in done):
            foresight.unsaved_record()
        for one in done:
            one.result()
    trace = foresight.unsaved_record()
    assert trace is not None
    assert sum(stop - start for start, stop in seen.reads) == 400 * PIECE
    assert sum(stop - start for start, stop in trace.ranges) == 100 * MIB
    assert not seen.met


async def test_an_answered_read_wakes_the_event_loop_only_for_what_follows_from_it(tmp_path: Path) -> None:
    data = some_bytes(32 * MIB)
    async with running(tmp_path, data, chunk_size=MIB, memory=64 * MIB, without=frozenset({"tensors"})) as world:
        chunker = await world.fetcher.open(world.fetch)
        told = 0
        for off in range(0, 16 * MIB, PIECE):
            to_do = world.fetcher.prefetcher.answered(world.fetch, chunker, off, PIECE)
            if to_do is not None:
                told += 1
                to_do()
        assert 1 <= told <= 8, "of 64 reads"
        assert world.fetch.flights, "no await since they were wanted"
