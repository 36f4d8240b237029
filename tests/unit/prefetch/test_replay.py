"""Replay and record: in step with a reader, and out of the way when it is another load."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fusefs.prefetch.read import Read
from fusefs.prefetch.record import Record
from fusefs.prefetch.replay import Replay
from fusefs.prefetch.streams import Stream
from fusefs.values.chunks import ChunkList
from fusefs.values.settings import KIB, MIB
from fusefs.values.trace import MAX_RANGES, Trace

STEP = 256 * KIB
LEAD = 8 * MIB
START = Trace(((0, MIB), (500 * MIB, 510 * MIB), (100 * MIB, 120 * MIB), (300 * MIB, 304 * MIB)))
TOTAL = 35 * MIB
CHUNKS = ChunkList.uniform(1000 * MIB, MIB)


def observe(replay: Replay, off: int, size: int, lead: int) -> list[range] | None:
    """With a stream of its own, at which a replay does not look."""
    return replay.observe(Read(off, size, Stream(off, off + size, off, off + size, off), lead))


def steps(start: Trace) -> list[int]:
    """The offsets of a reader who does it all again."""
    return [off for begin, stop in start.ranges for off in range(begin, stop, STEP)]


def test_the_first_read_has_the_lead_fetched_in_the_order_of_the_record() -> None:
    assert observe(Replay(START), 0, STEP, LEAD) == [range(MIB), range(500 * MIB, 507 * MIB + STEP)]


def test_all_of_it_is_said_once_in_order_and_never_further_than_the_lead() -> None:
    replay = Replay(START)
    said: list[range] = []
    for number, off in enumerate(steps(START)):
        words = observe(replay, off, STEP, LEAD)
        assert words is not None
        said += words
        assert sum(map(len, said)) <= (number + 1) * STEP + LEAD
        assert sum(map(len, said)) >= min(TOTAL, (number + 1) * STEP + LEAD // 2)
    assert Trace.of((word.start, word.stop) for word in said) == START
    assert replay.over
    assert not replay.left


def test_it_speaks_in_large_pieces() -> None:
    replay = Replay(Trace(((0, 400 * MIB),)))
    said = [words for off in range(0, 400 * MIB, STEP) if (words := observe(replay, off, STEP, LEAD))]
    assert len(said) <= 400 * MIB // (LEAD // 2) + 1


def test_threads_in_another_order_are_still_in_step() -> None:
    replay = Replay(START)
    offs = steps(START)
    dice = random.Random(1)
    for at in range(0, len(offs), 12):
        batch = offs[at : at + 12]
        dice.shuffle(batch)
        offs[at : at + 12] = batch
    said = [word for off in offs for word in observe(replay, off, STEP, LEAD) or []]
    assert sum(map(len, said)) == TOTAL
    assert not replay.left


def test_what_was_read_before_is_in_step_and_says_nothing() -> None:
    replay = Replay(START)
    for off in steps(START)[:40]:
        observe(replay, off, STEP, LEAD)
    assert all(observe(replay, off, STEP, LEAD) == [] for off in steps(START)[:30])


def test_a_read_elsewhere_is_for_others_and_several_in_a_row_end_it() -> None:
    replay = Replay(START)
    observe(replay, 0, STEP, LEAD)
    for number in range(8):
        assert not replay.over
        assert observe(replay, (700 + number) * MIB, STEP, LEAD) is None
    assert replay.over
    assert replay.left


def test_a_look_elsewhere_now_and_then_ends_nothing() -> None:
    replay = Replay(START)
    for off in steps(START)[:-1]:
        assert observe(replay, 700 * MIB, 4096, LEAD) is None
        assert observe(replay, off, STEP, LEAD) is not None
    assert not replay.over


def test_a_jump_far_ahead_in_the_record_is_another_load() -> None:
    replay = Replay(START)
    observe(replay, 0, STEP, LEAD)
    assert observe(replay, 300 * MIB, STEP, LEAD) is None


def test_the_pages_before_a_fault_need_not_be_in_the_record() -> None:
    replay = Replay(START)
    observe(replay, 0, STEP, LEAD)
    assert observe(replay, 500 * MIB - STEP // 2, STEP, LEAD) is not None


@given(
    st.lists(st.tuples(st.integers(0, 2**20 - 1), st.integers(1, 2**18)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 2**20 - 1), st.integers(1, 2**16)), max_size=60),
    st.integers(1, 2**17),
)
def test_any_record_and_any_reads_give_ranges_of_the_record_within_the_lead(
    ranges: list[tuple[int, int]], reads: list[tuple[int, int]], lead: int
) -> None:
    """A record may come from somebody else: its ranges may overlap."""
    start = Trace(tuple((off, off + size) for off, size in ranges))
    replay = Replay(start)
    for off, size in reads:
        if replay.over:
            break
        words = observe(replay, off, size, lead) or []
        assert all(any(begin <= word.start < word.stop <= stop for begin, stop in start.ranges) for word in words)
        assert sum(map(len, words)) <= 2 * lead + 2**16


def load(record: Record, *ranges: tuple[int, int]) -> None:
    for begin, stop in ranges:
        for off in range(begin, stop, STEP):
            record.note(off, min(STEP, stop - off))


def test_a_record_has_each_chunk_once_in_the_order_of_the_first_demand() -> None:
    record = Record(CHUNKS, None)
    load(record, (0, 100), (50 * MIB + 7, 60 * MIB - 7), (20 * MIB, 22 * MIB), (55 * MIB, 62 * MIB), (0, MIB))
    start = record.unsaved(left=False)
    assert start == Trace(((0, MIB), (50 * MIB, 60 * MIB), (20 * MIB, 22 * MIB), (60 * MIB, 62 * MIB)))


def test_a_record_of_a_few_chunks_is_not_worth_a_file() -> None:
    record = Record(CHUNKS, None)
    load(record, (0, 3 * MIB))
    assert record.unsaved(left=False) is None
    load(record, (3 * MIB, 4 * MIB))
    assert record.unsaved(left=False) == Trace(((0, 4 * MIB),))


def test_what_was_saved_is_not_saved_again_until_it_grows() -> None:
    record = Record(CHUNKS, None)
    load(record, (0, 9 * MIB))
    start = record.unsaved(left=False)
    assert start is not None
    record.saved(start)
    assert record.unsaved(left=False) is None
    load(record, (9 * MIB, 10 * MIB))
    assert record.unsaved(left=False) == Trace(((0, 10 * MIB),))


def test_it_should_be_kept_meanwhile_each_time_it_has_doubled() -> None:
    record = Record(CHUNKS, None)
    lengths = []
    for off in range(0, 1000 * MIB, MIB):
        record.note(off, MIB)
        if record.grown:
            lengths.append(off // MIB + 1)
            record.unsaved(left=False)
    assert lengths == [8, 16, 32, 64, 128, 256, 512]


def test_a_longer_record_takes_the_place_of_a_shorter_one_and_not_the_other_way_round() -> None:
    record = Record(CHUNKS, Trace(((0, 20 * MIB),)))
    load(record, (0, 20 * MIB))
    assert record.unsaved(left=False) is None
    load(record, (20 * MIB, 21 * MIB))
    assert record.unsaved(left=False) == Trace(((0, 21 * MIB),))


def test_of_another_order_half_of_the_length_is_enough() -> None:
    record = Record(CHUNKS, Trace(((0, 20 * MIB),)))
    load(record, (40 * MIB, 50 * MIB))
    assert record.unsaved(left=True) is None
    load(record, (50 * MIB, 51 * MIB))
    assert record.unsaved(left=False) is None
    assert record.unsaved(left=True) == Trace(((40 * MIB, 51 * MIB),))


def test_a_record_is_bounded_and_its_beginning_is_kept() -> None:
    chunks = ChunkList.uniform(4096 * 40_000, 4096)
    record = Record(chunks, None)
    for index in range(39_998, 0, -2):
        record.note(4096 * index, 10)
    start = record.unsaved(left=False)
    assert start is not None
    assert len(start.ranges) == MAX_RANGES
    assert start.ranges[0] == (4096 * 39_998, 4096 * 39_999)
