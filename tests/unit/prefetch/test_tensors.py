"""Tensors: which one was touched, what is wanted for that, and that nobody pays for what lies beside it."""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from fusefs.formats.extents import Extents
from fusefs.prefetch.read import Read
from fusefs.prefetch.sequential import Sequential
from fusefs.prefetch.streams import ReadAhead
from fusefs.prefetch.tensors import Tensors
from fusefs.values.settings import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER = 20_000
EACH = 10_000_128
COUNT = 200
SIZE = HEADER + COUNT * EACH
STEP = 256 * KIB
MOST = 128 * MIB


def start_of(index: int) -> int:
    return HEADER + index * EACH


class Noted(Sequential):
    """Notes how far a window may reach, and has none: `test_streams` looks at those.

    Attributes:
        within: for the read of now; None when no window was asked for.
    """

    within: range | None = None

    def window(self, read: Read, within: range | None = None, *, trusted: bool = False) -> list[range]:
        self.within = within
        return []


class Reader:
    """Somebody who reads a file of 200 tensors of 10 MB; notes what is said for it."""

    def __init__(self, *, tight: bool = False, largest: int = MOST) -> None:
        ranges = ((start_of(i), start_of(i) + EACH) for i in range(COUNT))
        self.streams = ReadAhead(SIZE, largest, both_ways=True)
        self.windows = Noted(self.streams)
        self.tensors = Tensors(Extents.of(HEADER, ranges), range(SIZE), largest, self.windows)
        self.tight = tight

    def read(self, off: int, size: int = STEP) -> list[range]:
        self.windows.within = None
        return self.tensors.observe(Read(off, size, self.streams.follow(off, size), MOST, self.tight))

    @property
    def crossed(self) -> bool:
        """Whether the reader of the last read may have all of the file fetched ahead."""
        return self.windows.within == range(SIZE)

    def read_all(self, offs: Iterable[int]) -> list[range]:
        return [word for off in offs for word in self.read(off)]


def whole(*indices: int) -> set[tuple[int, int]]:
    return {(start_of(i), start_of(i) + EACH) for i in indices}


def tensors_in(words: Iterable[range]) -> set[int]:
    """The tensors of which a byte was said."""
    return {(off - HEADER) // EACH for word in words for off in (word.start, word.stop - 1)}


def test_a_read_in_a_tensor_wants_the_rest_of_it_the_part_behind_first() -> None:
    off = start_of(7) + 3 * MIB
    assert Reader().read(off) == [range(off + STEP, start_of(8)), range(start_of(7), off)]


def test_a_tensor_is_wanted_once() -> None:
    reader = Reader()
    assert reader.read(start_of(7))
    assert not reader.read_all(start_of(7) + off for off in range(STEP, EACH - STEP, STEP))


def test_a_fault_at_the_first_page_is_not_a_touch_of_the_tensor_before() -> None:
    """The kernel reads as much before the page as behind it."""
    words = Reader().read(start_of(7) // 4096 * 4096 - STEP // 2)
    assert tensors_in(words) == {7}


def test_a_lone_small_read_wants_nothing_and_its_neighbour_does() -> None:
    reader = Reader()
    assert not reader.read(start_of(7) + MIB, 4096)
    assert not reader.read(start_of(9) + MIB, 4096), "somewhere else"
    assert tensors_in(reader.read(start_of(7) + MIB + 4096, 4096)) == {7}


def test_the_same_page_again_is_still_alone() -> None:
    reader = Reader()
    assert not any(reader.read(start_of(7) + MIB, 4096) for _ in range(50))


def test_the_header_wants_nothing_and_what_the_kernel_reads_behind_it_neither() -> None:
    reader = Reader()
    assert not reader.read_all([0, STEP, 2 * STEP])
    assert reader.windows.within is None


def test_who_goes_on_from_the_header_wants_the_first_tensor_and_has_not_crossed_yet() -> None:
    reader = Reader()
    words = reader.read_all(range(0, 2 * MIB, STEP))
    assert tensors_in(words) == {0}
    assert not reader.crossed


def test_what_the_kernel_reads_behind_a_tensor_is_no_touch_of_the_next() -> None:
    reader = Reader()
    words = reader.read_all(start_of(7) + off for off in range(0, EACH + 2 * STEP, STEP))
    assert tensors_in(words) == {7}
    assert reader.windows.within is None


def test_who_reads_on_into_the_next_tensor_may_read_ahead_without_end() -> None:
    reader = Reader()
    words = reader.read_all(start_of(7) + off for off in range(0, EACH + 2 * MIB, STEP))
    assert tensors_in(words) == {7, 8}
    assert reader.crossed


def test_who_comes_back_to_where_another_run_ended_has_not_crossed() -> None:
    """In random order, too, the neighbour of a tensor is read at some time."""
    reader = Reader()
    reader.read_all(start_of(7) + off for off in range(0, EACH, STEP))
    for other in (100, 50):
        reader.read_all(start_of(other) + off for off in range(0, EACH, STEP))
    words = reader.read_all(start_of(8) + 2 * STEP + off for off in range(0, 4 * MIB, STEP))
    assert tensors_in(words) == {8}
    assert not reader.crossed


def test_backward_from_tensor_to_tensor_is_crossing_too() -> None:
    reader = Reader()
    words = reader.read_all(start_of(8) + 2 * MIB - off for off in range(0, 4 * MIB, STEP))
    assert tensors_in(words) == {7, 8}
    assert reader.crossed


def test_backward_in_blocks_whose_requests_come_from_their_beginning_is_crossing_too() -> None:
    """A read of 1 MiB is four requests of the kernel; the first of them lies 768 KiB below what was read before."""
    reader = Reader()
    for stop in range(start_of(8) + 4 * MIB, start_of(7) + 4 * MIB, -MIB):
        reader.read_all(range(stop - MIB, stop, STEP))
    assert reader.crossed


def test_tensors_in_random_order_earn_next_to_nothing() -> None:
    for seed in range(20):
        reader = Reader()
        order = random.Random(seed).sample(range(COUNT), COUNT // 2)
        said = sum(len(word) for index in order for word in reader.read(start_of(index) + 4 * MIB))
        assert said <= 1.02 * len(order) * EACH


def test_tensors_touched_in_file_order_are_fetched_ahead_of() -> None:
    """By threads that share them out, for example: none of them reads on into the next one."""
    reader = Reader()
    said = [tensors_in(reader.read(start_of(index) + 4 * MIB)) for index in range(60)]
    assert said[:4] == [{0}, {1}, {2}, {3}]
    ahead = [max(each) - index for index, each in enumerate(said) if each]
    assert max(ahead) > 5, "what was guessed and was right pays for more"
    assert max(ahead) * EACH <= MOST + EACH, "but never for more than a window"


def test_who_disappoints_pays_a_quarter_at_most() -> None:
    reader = Reader()
    words = [word for group in range(0, COUNT - 4, 5) for i in range(3) for word in reader.read(start_of(group + i))]
    touched = sum(len(range(0, COUNT - 4, 5)) for _ in range(3)) * EACH
    assert sum(map(len, words)) <= 1.25 * touched


def test_a_huge_tensor_is_left_to_a_window_that_ends_with_it() -> None:
    reader = Reader(largest=4 * MIB)
    assert not reader.read(start_of(7) + MIB)
    assert reader.windows.within == range(start_of(7), start_of(8))


def test_with_no_place_to_keep_it_no_tensor_is_wanted_whole() -> None:
    reader = Reader(tight=True)
    assert not reader.read(start_of(7) + MIB)
    assert reader.windows.within == range(start_of(7), start_of(8))


def test_padding_between_tensors_touches_none() -> None:
    streams = ReadAhead(3 * MIB, MOST)
    tensors = Tensors(Extents.of(100, [(100, MIB), (2 * MIB, 3 * MIB)]), range(3 * MIB), MOST, Sequential(streams))
    off, size = MIB + 300 * KIB, 100 * KIB
    assert not tensors.observe(Read(off, size, streams.follow(off, size), MOST))


@given(st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, EACH // STEP), st.booleans()), max_size=40))
def test_a_stream_is_looked_at_and_left_as_it_is(touches: list[tuple[int, int, bool]]) -> None:
    """Two policies that write into one reader's state could not be told apart, nor asked in another order."""
    reader = Reader()
    for index, step, long in touches:
        off = start_of(index) + step * STEP
        for part in range(8 if long else 1):
            at, size = min(off + part * STEP, SIZE - STEP), STEP if long else 4096
            stream = reader.streams.follow(at, size)
            before = asdict(stream)
            reader.tensors.observe(Read(at, size, stream, MOST))
            assert asdict(stream) == before
