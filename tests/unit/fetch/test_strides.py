"""Strides: equal jumps are believed after three, and only the next few places are said."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fusefs.prefetch.strides import Strides
from fusefs.values.settings import KIB, MIB

GIB = 1 << 30
MOST = 128 * MIB


def jumps(policy: Strides, offs: list[int], size: int = 4096, most: int = MOST) -> list[list[range]]:
    return [policy.observe(off, size, jump=True, most=most) for off in offs]


def test_three_equal_jumps_are_believed() -> None:
    said = jumps(Strides(GIB), [10 * MIB, 30 * MIB, 50 * MIB, 70 * MIB])
    assert said[:3] == [[], [], []]
    assert [word.start for word in said[3]] == [90 * MIB, 110 * MIB, 130 * MIB]


def test_each_place_is_said_once_and_with_more_jumps_more_of_them() -> None:
    offs = list(range(0, GIB, 20 * MIB))
    said = jumps(Strides(GIB), offs)
    words = [word.start for each in said for word in each]
    assert words == offs[4:], "all of them, each once, none behind the end"
    lead = [(each[-1].start - off) // (20 * MIB) for off, each in zip(offs, said, strict=True) if each]
    assert max(lead) == 16


def test_backward_too() -> None:
    said = jumps(Strides(GIB), [900 * MIB, 800 * MIB, 700 * MIB, 600 * MIB])
    assert [word.start for word in said[3]] == [500 * MIB, 400 * MIB, 300 * MIB]


def test_the_kernel_reads_whole_pages_so_jumps_look_a_page_longer_at_times() -> None:
    offs = [number * 10_000_000 // 4096 * 4096 for number in range(40)]
    said = jumps(Strides(GIB), offs)
    words = [word for each in said for word in each]
    assert len(words) >= 36
    for place in offs[4:36]:
        assert any(word.start - 4096 <= place < word.stop for word in words)


def test_a_place_that_is_read_in_several_requests_is_wanted_whole() -> None:
    policy = Strides(GIB)
    words = []
    for off in range(0, 500 * MIB, 50 * MIB):
        for part in range(4):
            words += policy.observe(off + part * 64 * KIB, 64 * KIB, jump=part == 0, most=MOST)
    assert {len(word) // KIB for word in words} == {4 * 64 + 4}


def test_two_readers_who_jump_in_turns_are_told_apart() -> None:
    offs = [off for number in range(10) for off in (number * 30 * MIB, 500 * MIB + number * 7 * MIB)]
    words = {word.start for each in jumps(Strides(GIB), offs) for word in each}
    assert {number * 30 * MIB for number in range(4, 10)} <= words
    assert {500 * MIB + number * 7 * MIB for number in range(4, 10)} <= words


def test_random_places_are_next_to_never_believed() -> None:
    dice = random.Random(1)
    policy = Strides(100 * GIB)
    assert not any(any(jumps(policy, [dice.randrange(100 * GIB)])) for _ in range(5000))


def test_what_is_wanted_together_is_bounded() -> None:
    said = jumps(Strides(GIB), list(range(0, GIB, 20 * MIB)), size=MIB, most=8 * MIB)
    assert max(len(each) for each in said) <= 7
    assert (
        max(each[-1].stop - off for off, each in zip(range(0, GIB, 20 * MIB), said, strict=True) if each) <= 161 * MIB
    )


@given(st.lists(st.tuples(st.integers(0, 2**20 - 1), st.integers(1, 2**18), st.booleans()), max_size=60))
def test_any_reads_get_ranges_of_the_file(reads: list[tuple[int, int, bool]]) -> None:
    policy = Strides(2**20)
    for off, size, jump in reads:
        for word in policy.observe(off, size, jump=jump, most=2**17):
            assert 0 <= word.start < word.stop <= 2**20
    assert len(policy._expected) <= 32
