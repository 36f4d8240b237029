"""All policies together: what a reader pays for, chunk by chunk, with the requests that the kernel sends for it."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.formats.extents import Extents
from fusefs.prefetch.headerwatch import HEADER_TRIES
from fusefs.prefetch.policy import Prefetch
from fusefs.prefetch.ranges import Ranges
from fusefs.values.chunks import ChunkList
from fusefs.values.settings import KIB, MIB
from fusefs.values.trace import Trace
from tests.kernel_reads import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEADER = 20_000
EACH = 10_000_128
COUNT = 100
SIZE = HEADER + COUNT * EACH
RATE = 117e6
STEP = 256 * KIB
CHUNKS = ChunkList.uniform(SIZE, MIB)
TENSORS = [(HEADER + i * EACH, HEADER + (i + 1) * EACH) for i in range(COUNT)]
EXTENTS = Extents.of(HEADER, TENSORS)
WHOLE = range(SIZE)


class Load:
    """Somebody who reads a file through the kernel.

    Attributes:
        demanded: chunks in the order in which they were first read.
        said: chunks that were wanted for him, in that order.
        late: chunks that he read before they were wanted for him.
    """

    def __init__(self, policy: Prefetch, *, extents: Extents | None = EXTENTS) -> None:
        self.policy = policy
        self.demanded: dict[int, None] = {}
        self.said: dict[int, None] = {}
        self.late: set[int] = set()
        self.kernel = Kernel(SIZE)
        self._extents = extents

    def read(self, off: int, size: int = STEP, rate: float = RATE) -> list[range]:
        self.late.update(set(CHUNKS.covering(off, size)) - set(self.said) - set(self.demanded))
        words = self.policy.observe(off, size, rate)
        self.demanded.update(dict.fromkeys(CHUNKS.covering(off, size)))
        for word in words:
            self.said.update(dict.fromkeys(CHUNKS.covering(word.start, len(word))))
        if self.policy.wants_header:
            self.demanded[0] = None
            self.policy.header_begun(WHOLE)
            self.policy.header_read(WHOLE, self._extents)
        return words

    def order(self, start: int, stop: int) -> None:
        for off in range(start, stop, STEP):
            self.read(off, min(STEP, stop - off))

    def map(self, spans: Iterable[tuple[int, int]]) -> None:
        for start, stop in spans:
            for off, size in self.kernel.touch(start, stop):
                self.read(off, size)

    @property
    def fetched(self) -> set[int]:
        return {*self.demanded, *self.said}


def chunks_of(*spans: tuple[int, int]) -> set[int]:
    return {chunk for start, stop in spans for chunk in CHUNKS.covering(start, stop - start)}


def policy(
    *, kept: Trace | None = None, cold: bool = False, chunks: ChunkList = CHUNKS, files: Sequence[range] = ()
) -> Prefetch:
    return Prefetch(chunks, 128 * MIB, kept=kept, cold=cold, files=files)


def test_tensors_in_random_order_cost_their_chunks_and_what_the_kernel_reads_beside_them() -> None:
    spans = random.Random(7).sample(TENSORS, COUNT // 2)
    load = Load(policy())
    load.map(spans)
    bare = Load(Prefetch(CHUNKS, 0), extents=None)
    bare.map(spans)
    assert load.fetched - set(bare.demanded) == set(), "not one chunk more than without any prefetch"
    assert chunks_of(*spans) <= set(load.said) | set(load.demanded)
    assert len(load.fetched) * MIB <= 1.15 * len(spans) * EACH
    assert len(load.late) <= 4 * len(spans), "those of the first fault, and where the kernel reads ahead at the end"


@pytest.mark.parametrize("index", [0, 1, 42, COUNT - 1])
def test_header_and_one_tensor_cost_two_chunks_beyond_what_is_needed_at_most(index: int) -> None:
    load = Load(policy())
    load.map([(0, HEADER), TENSORS[index]])
    assert len(load.fetched - chunks_of((0, HEADER), TENSORS[index])) <= 2
    assert chunks_of(TENSORS[index]) <= load.fetched


def test_a_copy_that_touches_both_ends_first_costs_no_more() -> None:
    """As glibc's memcpy does; the page of the last byte begins the next tensor, too."""
    load = Load(policy())
    start, stop = TENSORS[42]
    load.map([(0, HEADER), (start, start + 1), (stop - 1, stop), (start, stop)])
    assert len(load.fetched - chunks_of((0, HEADER), TENSORS[42])) <= 2


def test_the_header_alone_costs_two_chunks_beyond_it_at_most() -> None:
    load = Load(policy())
    load.map([(0, HEADER)])
    assert len(load.fetched - chunks_of((0, HEADER))) <= 2


def test_in_order_the_whole_file_is_fetched_ahead_with_full_windows() -> None:
    load = Load(policy())
    load.order(0, SIZE)
    assert load.fetched == set(range(len(CHUNKS)))
    assert max(load.late) <= EACH // MIB + 3, "from the second tensor on no chunk is waited for"
    assert len(load.late) <= 6


def test_in_order_it_is_far_ahead() -> None:
    load = Load(policy())
    load.order(0, SIZE // 2)
    assert max(load.said) * MIB >= SIZE // 2 + 50 * MIB
    assert max(load.said) * MIB <= SIZE // 2 + 150 * MIB


def test_nobody_learns_more_of_a_blob_of_few_chunks() -> None:
    few = policy(chunks=ChunkList.uniform(4 * MIB, MIB), cold=True)
    few.observe(0, STEP, RATE)
    few.observe(STEP, STEP, RATE)
    assert not few.wants_header
    assert few.unsaved_record() is None


def test_a_lone_page_asks_for_nothing_not_even_the_header() -> None:
    quiet = policy()
    for off in random.Random(1).sample(range(8 * MIB, SIZE, 4096), 30):
        assert not quiet.observe(off, 4096, RATE)
        assert not quiet.wants_header


def test_the_first_read_or_one_that_could_be_of_a_tensor_asks_for_the_header() -> None:
    first, other = policy(), policy()
    first.observe(0, 4096, RATE)
    other.observe(300 * MIB, STEP, RATE)
    assert first.wants_header
    assert other.wants_header


def test_a_header_that_cannot_be_had_is_asked_for_a_few_times() -> None:
    asked = policy()
    for tries in range(HEADER_TRIES):
        asked.observe(tries * STEP, STEP, RATE)
        assert asked.wants_header
        asked.header_begun(WHOLE)
        asked.header_failed(WHOLE)
    asked.observe(0, STEP, RATE)
    assert not asked.wants_header


def test_while_the_header_is_being_fetched_no_stream_runs_past_it() -> None:
    waiting = policy()
    waiting.observe(0, STEP, RATE)
    waiting.header_begun(WHOLE)
    assert not any(waiting.observe(off, STEP, RATE) for off in range(0, 12 * MIB, STEP))
    waiting.header_read(WHOLE, None)
    assert waiting.observe(12 * MIB, STEP, RATE), "a file of an unknown format is a stream at once"


def test_backward_through_an_unknown_file_is_fetched_ahead_of() -> None:
    load = Load(policy(), extents=None)
    for off in range(500 * MIB, 300 * MIB, -STEP):
        load.read(off)
    assert set(load.said) >= set(range(300, 490))
    assert min(load.said) >= 300 - 128, "a window at most"
    assert max(load.said) < 500, "nothing behind it"


def test_a_backward_window_comes_nearest_first() -> None:
    load = Load(policy(), extents=None)
    words = [word for off in range(500 * MIB, 300 * MIB, -STEP) for word in load.read(off)]
    assert all(before.start >= after.stop for before, after in pairwise(words))
    assert all(len(word) <= 8 * MIB for word in words)


def test_jumps_of_one_length_cost_their_chunks_alone() -> None:
    """No loader of models reads so: what would be guessed for it is a cost to those who jump by chance."""
    load = Load(policy(), extents=None)
    places = range(5 * MIB, 800 * MIB, 20 * MIB)
    for off in places:
        load.read(off, 64 * KIB)
    assert load.fetched - {0} == chunks_of(*((off, off + 64 * KIB) for off in places))


def test_reads_behind_the_header_in_a_file_that_is_not_cold_are_not_recorded() -> None:
    load = Load(policy(cold=False))
    load.order(0, 50 * MIB)
    assert load.policy.unsaved_record() is None


def test_a_replayed_load_has_every_chunk_on_its_way_before_it_is_read() -> None:
    spans = [(0, HEADER), *random.Random(7).sample(TENSORS, COUNT // 2)]
    first = Load(policy(cold=True))
    first.map(spans)
    kept = first.policy.unsaved_record()
    assert kept is not None
    again = Load(policy(kept=kept, cold=True))
    again.map(spans)
    assert again.fetched == set(first.demanded), "not one chunk more than is read"
    assert set(again.demanded) <= set(again.said)
    positions = {chunk: position for position, chunk in enumerate(again.said)}
    order = [positions[chunk] for chunk in first.demanded]
    assert order == sorted(order), "in the order in which it was recorded"
    assert again.policy.unsaved_record() is None, "the same again is not written again"


def test_a_load_that_is_another_is_left_to_the_other_policies_after_a_few_reads() -> None:
    first = Load(policy(cold=True))
    first.map(TENSORS[:40])
    kept = first.policy.unsaved_record()
    again = Load(policy(kept=kept, cold=True))
    again.map(TENSORS[60:])
    assert chunks_of(*TENSORS[62:]) <= set(again.said), "in order, so that all of it was fetched ahead"
    assert len(set(again.said) & chunks_of(*TENSORS[:40])) <= 8 + 2
    assert again.policy.unsaved_record() is not None, "it was another order, and as long"


def test_a_short_load_of_the_same_order_does_not_take_the_place_of_a_long_one() -> None:
    first = Load(policy(cold=True))
    first.map(TENSORS[:40])
    again = Load(policy(kept=first.policy.unsaved_record(), cold=True))
    again.map(TENSORS[:30])
    assert again.policy.unsaved_record() is None
    again.map(TENSORS[30:60])
    assert again.policy.unsaved_record() is not None


def test_reading_the_same_again_says_nothing_in_whatever_order() -> None:
    """It is all there, and in another order it says nothing either about what was not read."""
    load = Load(policy())
    load.order(0, HEADER)
    spans = random.Random(2).sample(TENSORS, 20)
    for span in spans:
        load.order(*span)
    before = dict(load.said)
    for span in sorted(spans):
        load.order(*span)
    assert load.said == before


def test_with_no_place_to_keep_it_a_small_window_is_all() -> None:
    tight = policy()
    tight.header_begun(WHOLE)
    tight.header_read(WHOLE, EXTENTS)
    for off in range(0, 60 * MIB, STEP):
        words = tight.observe(off, STEP, RATE, tight=True)
        assert all(word.stop <= off + STEP + 8 * MIB for word in words)


def test_each_part_that_the_benchmark_switches_off_is_off() -> None:
    """`scripts/bench --without` measures what it is worth by its absence."""

    def hints(without: str) -> Prefetch:
        kept = Trace(((0, 100 * MIB), (300 * MIB, 400 * MIB)))
        return Prefetch(CHUNKS, 128 * MIB, kept=kept, cold=True, without=frozenset({without}))

    def touched_in_order(hints: Prefetch) -> int:
        hints.header_begun(WHOLE)
        hints.header_read(WHOLE, EXTENTS)
        return sum(len(one) for start, _ in TENSORS[40:60] for one in hints.observe(start + 4 * MIB, STEP, RATE))

    assert hints("").observe(0, STEP, RATE)
    assert not hints("replay").observe(0, STEP, RATE)
    tensors = hints("tensors")
    tensors.observe(0, STEP, RATE)
    assert not tensors.wants_header
    assert touched_in_order(hints("replay")) > touched_in_order(hints("credit"))
    assert touched_in_order(hints("credit")) <= 20 * EACH


READS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, SIZE - 1), st.integers(1, MIB)),
        st.tuples(st.integers(0, 400).map(lambda n: n * MIB), st.just(4096)),
        st.tuples(st.integers(0, 4000).map(lambda n: n * STEP), st.just(STEP)),
    ),
    max_size=60,
)
EXTENT_LISTS = st.lists(st.integers(0, SIZE), min_size=2, max_size=40, unique=True).map(
    lambda offs: Extents.of(min(offs), list(pairwise(sorted(offs)))[::2])
)
STARTS = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 64 * MIB)), max_size=20).map(
    lambda pairs: Trace(tuple((off, min(SIZE, off + size)) for off, size in pairs))
)


@given(READS, st.none() | EXTENT_LISTS, st.none() | STARTS, st.booleans(), st.floats(0, 1e10))
def test_whatever_is_read_words_lie_in_the_file_come_once_and_are_bounded(
    reads: list[tuple[int, int]], extents: Extents | None, kept: Trace | None, tight: bool, rate: float
) -> None:
    """Whatever a header or a record says, too: both are hints from somebody else."""
    hints = policy(kept=kept, cold=True)
    said = Ranges()
    for number, (off, length) in enumerate(reads):
        size = min(length, SIZE - off)
        words = hints.observe(off, size, rate, tight=tight)
        assert all(0 <= word.start < word.stop <= SIZE and word.step == 1 for word in words)
        assert tight or all(said.add(word) == [word] for word in words), "said twice"
        assert sum(map(len, words)) <= (64 if tight else 3 * 128) * MIB
        if number == 3:
            hints.header_begun(WHOLE)
            hints.header_read(WHOLE, extents)


@given(READS)
def test_a_record_that_was_read_back_covers_just_what_was_read(reads: list[tuple[int, int]]) -> None:
    hints = policy(cold=True)
    wanted: dict[int, None] = {}
    for off, length in reads:
        size = min(length, SIZE - off)
        hints.observe(off, size, RATE)
        wanted.update(dict.fromkeys(CHUNKS.covering(off, size)))
    start = hints.unsaved_record()
    if start is None:
        assert len(wanted) < 4
    else:
        assert [c for begin, stop in start.ranges for c in CHUNKS.covering(begin, stop - begin)] == list(wanted)


def test_each_file_of_an_archive_has_a_header_and_tensors_of_its_own() -> None:
    """What a header says counts from the beginning of its file, wherever in the archive that lies."""
    files = [range(512 + i * 40 * MIB, 512 + (i + 1) * 40 * MIB - 1024) for i in range(3)]
    extents = Extents.of(4096, [(4096, 3 * MIB), (3 * MIB, 30 * MIB)])
    hints = policy(files=files)
    said: list[range] = []
    for file in files[:2]:
        hints.observe(file.start, STEP, RATE)
        assert hints.wants_header == file
        hints.header_begun(file)
        hints.header_read(file, extents)
        said = hints.observe(file.start + 10 * MIB, STEP, RATE)
        assert min(part.start for part in said) == file.start + 3 * MIB
        assert max(part.stop for part in said) == file.start + 30 * MIB
    hints.observe(files[2].start + 10 * MIB, 4096, RATE)
    assert hints.wants_header is None, "a lone page of another file"
    assert hints.knows_tensors


def test_a_blob_that_turns_out_to_be_an_archive_is_looked_at_anew() -> None:
    """Its table was read from it, before anybody could know."""
    hints = policy()
    hints.observe(0, STEP, RATE)
    hints.header_begun(WHOLE)
    hints.header_read(WHOLE, None)
    file = range(100 * MIB + 512, 200 * MIB)
    hints.files_known((file,))
    hints.observe(file.start, STEP, RATE)
    assert hints.wants_header == file
