"""The read-ahead policy: who is a sequential reader, and how far ahead of one is fetched."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.prefetch.streams import ReadAhead
from fusefs.values.counters import Rate
from fusefs.values.settings import MIB
from tests.world import running, some_bytes

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30
FAST = 10e9
STEP = 128 << 10
"""Bytes a FUSE request asks for."""


def read_through(policy: ReadAhead, start: int, stop: int, rate: float = FAST) -> list[tuple[int, range]]:
    """Read in order; what was said to fetch, and after which offset."""
    said = []
    for off in range(start, stop, STEP):
        ahead = policy.observe(off, STEP, rate)
        if ahead:
            said.append((off + STEP, ahead))
    return said


def test_a_stream_is_believed_after_4_mib() -> None:
    said = read_through(ReadAhead(GIB, 128 * MIB), 0, 4 * MIB)
    assert said == [(4 * MIB, range(4 * MIB, 12 * MIB))]
    assert not read_through(ReadAhead(GIB, 128 * MIB), 0, 4 * MIB - STEP)


def test_the_window_doubles_from_8_to_128_mib_and_stays_there() -> None:
    said = read_through(ReadAhead(4 * GIB, 128 * MIB), 0, GIB)
    ahead_of_reader = [(ahead.stop - at) // MIB for at, ahead in said]
    assert ahead_of_reader[:5] == [8, 16, 32, 64, 128]
    assert set(ahead_of_reader[5:]) == {128}


def test_what_was_said_is_not_said_again_and_nothing_is_left_out() -> None:
    said = [ahead for _, ahead in read_through(ReadAhead(GIB, 128 * MIB), 0, GIB)]
    assert said[0].start == 4 * MIB
    assert all(before.stop == after.start for before, after in itertools.pairwise(said))


def test_it_stops_at_the_end_of_the_file() -> None:
    said = [ahead for _, ahead in read_through(ReadAhead(10 * MIB, 128 * MIB), 0, 10 * MIB)]
    assert [said[0].start, said[-1].stop] == [4 * MIB, 10 * MIB]
    assert sum(map(len, said)) == 6 * MIB


def test_random_reads_never_start_a_stream() -> None:
    policy = ReadAhead(100 * GIB, 128 * MIB)
    dice = random.Random(1)
    assert not any(policy.observe(dice.randrange(100 * GIB), STEP, FAST) for _ in range(5000))


def test_short_jumps_forward_are_no_stream() -> None:
    """Whoever reads little out of much should not pay for what he jumps over."""
    policy = ReadAhead(GIB, 128 * MIB)
    assert not any(policy.observe(off, STEP, FAST) for off in range(0, 32 * MIB, 2 * MIB))


def test_reading_one_place_again_and_again_is_no_stream() -> None:
    policy = ReadAhead(GIB, 128 * MIB)
    assert not any(policy.observe(7 * MIB, STEP, FAST) for _ in range(1000))


def test_two_streams_are_told_apart() -> None:
    policy = ReadAhead(GIB, 128 * MIB)
    said: dict[int, list[range]] = {0: [], 512 * MIB: []}
    for off in range(0, 32 * MIB, STEP):
        for base, ranges in said.items():
            ahead = policy.observe(base + off, STEP, FAST)
            if ahead:
                ranges.append(ahead)
    for base, ranges in said.items():
        assert ranges[0] == range(base + 4 * MIB, base + 12 * MIB)
        assert all(before.stop == after.start for before, after in itertools.pairwise(ranges))


def test_requests_out_of_order_are_still_one_stream() -> None:
    policy = ReadAhead(GIB, 128 * MIB)
    dice = random.Random(1)
    offsets = list(range(0, 32 * MIB, STEP))
    for at in range(0, len(offsets), 8):  # the kernel has several in flight and sends them in any order
        batch = offsets[at : at + 8]
        dice.shuffle(batch)
        offsets[at : at + 8] = batch
    said = [ahead for off in offsets if (ahead := policy.observe(off, STEP, FAST))]
    assert said[0].start <= 6 * MIB
    assert said[-1].stop >= 32 * MIB
    assert all(before.stop == after.start for before, after in itertools.pairwise(said))


@pytest.mark.parametrize(("rate", "most"), [(0, 8), (1e6, 8), (20 * MIB, 20), (FAST, 128)])
def test_a_window_is_at_most_a_second_of_bandwidth(rate: float, most: int) -> None:
    said = read_through(ReadAhead(4 * GIB, 128 * MIB), 0, GIB, rate)
    assert max((ahead.stop - at) // MIB for at, ahead in said) == most


def test_streams_that_are_remembered_are_bounded() -> None:
    policy = ReadAhead(100 * GIB, 128 * MIB)
    for index in range(1000):
        policy.observe(index * 64 * MIB, STEP, FAST)
    assert len(policy._streams) == 16
    assert policy._streams[-1].low == 999 * 64 * MIB


def test_a_reader_who_takes_a_little_of_much_is_no_stream_however_long_he_goes_on() -> None:
    policy = ReadAhead(GIB, 128 * MIB)
    assert not any(policy.observe(off, STEP, FAST) for off in range(0, GIB, 2 * MIB))


def backward(policy: ReadAhead, start: int, stop: int) -> list[tuple[int, range]]:
    """Read from `start` down to `stop`; what was said to fetch, and at which offset."""
    return [(off, ahead) for off in range(start - STEP, stop - 1, -STEP) if (ahead := policy.observe(off, STEP, FAST))]


def test_a_backward_stream_is_believed_after_4_mib_and_its_window_doubles() -> None:
    said = backward(ReadAhead(GIB, 128 * MIB, both_ways=True), GIB, 0)
    assert said[0] == (GIB - 4 * MIB, range(GIB - 12 * MIB, GIB - 4 * MIB))
    before_reader = [(at - ahead.start) // MIB for at, ahead in said]
    assert before_reader[:5] == [8, 16, 32, 64, 128]
    assert max(before_reader) == 128
    assert all(before[1].start == after[1].stop for before, after in itertools.pairwise(said))
    assert said[-1][1].start == 0


def test_a_backward_stream_is_none_for_who_asks_for_forward_ones_alone() -> None:
    """The pages behind a reader of a sealed file are given back: for one that goes backward those would be the next."""
    assert not backward(ReadAhead(GIB, 128 * MIB), GIB, 900 * MIB)


def test_requests_out_of_order_backward_are_still_one_stream() -> None:
    policy = ReadAhead(GIB, 128 * MIB, both_ways=True)
    dice = random.Random(1)
    offsets = list(range(32 * MIB, 0, -STEP))
    for at in range(0, len(offsets), 8):
        batch = offsets[at : at + 8]
        dice.shuffle(batch)
        offsets[at : at + 8] = batch
    said = [ahead for off in offsets if (ahead := policy.observe(off, STEP, FAST))]
    assert said[0].stop >= 26 * MIB
    assert said[-1].start == 0
    assert all(before.start == after.stop for before, after in itertools.pairwise(said))


def test_a_forward_and_a_backward_stream_are_told_apart() -> None:
    policy = ReadAhead(GIB, 128 * MIB, both_ways=True)
    up: list[range] = []
    down: list[range] = []
    for off in range(0, 32 * MIB, STEP):
        up += filter(None, [policy.observe(100 * MIB + off, STEP, FAST)])
        down += filter(None, [policy.observe(900 * MIB - off, STEP, FAST)])
    assert up[0] == range(104 * MIB, 112 * MIB)
    assert down[0].stop == 900 * MIB + STEP - 4 * MIB
    assert min(word.start for word in up) > 100 * MIB
    assert max(word.stop for word in down) < 900 * MIB


def test_a_stream_stays_within_its_bounds_and_its_window_does_not_grow_there() -> None:
    policy = ReadAhead(GIB, 128 * MIB)
    said = [
        policy.ahead_of(policy.follow(off, STEP), FAST, range(10 * MIB), trusted=True)
        for off in range(0, 9 * MIB, STEP)
    ]
    assert [word for word in said if word] == [range(STEP, STEP + 8 * MIB), range(STEP + 8 * MIB, 10 * MIB)]
    ahead = policy.ahead_of(policy.follow(9 * MIB, STEP), FAST)
    assert ahead.stop - 9 * MIB - STEP == 32 * MIB, "twice the last one that had something to say"


@given(
    st.lists(st.tuples(st.integers(0, 2**30 - 1), st.sampled_from([1, 4096, STEP, MIB, 64 * MIB])), max_size=80),
    st.booleans(),
)
def test_any_reads_get_ranges_of_the_file_that_are_no_longer_than_a_window(
    reads: list[tuple[int, int]], both_ways: bool
) -> None:
    policy = ReadAhead(GIB, 128 * MIB, both_ways=both_ways)
    for off, size in reads:
        ahead = policy.observe(off, min(size, GIB - off), FAST)
        assert 0 <= ahead.start <= ahead.stop <= GIB
        assert len(ahead) <= 128 * MIB


async def test_a_sequential_reader_is_fetched_ahead_of_and_reading_it_again_causes_no_traffic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rate, "at", lambda _rate, _now: FAST)  # however busy this machine is
    data = some_bytes(20 << 20)
    async with running(tmp_path, data, chunk_size=1 << 20, memory=64 << 20, span_size=2 << 20) as world:
        for off in range(0, 5 << 20, 1 << 20):
            await world.read(off, 1 << 20)
        while world.fetch.flights:
            await next(iter(world.fetch.flights.values())).wait()
        assert world.source.bytes_asked == 12 << 20, "4 MiB make a stream, 8 MiB a window"
        for off in range(0, 5 << 20, 1 << 20):
            await world.read(off, 1 << 20)
        assert world.source.bytes_asked == 12 << 20


async def test_a_reader_that_jumps_is_not_fetched_ahead_of(tmp_path: Path) -> None:
    data = some_bytes(20 << 20)
    async with running(tmp_path, data, chunk_size=1 << 20, memory=64 << 20) as world:
        for index in (17, 3, 9, 0, 13, 6):
            await world.read(index << 20, 1 << 20)
        assert world.source.bytes_asked == 6 << 20
        assert not world.fetch.flights
