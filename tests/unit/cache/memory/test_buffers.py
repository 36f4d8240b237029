"""Buffers: memory in flight stays within its budget, and is used again."""

from __future__ import annotations

from fusefs.cache.memory.buffers import Buffers


def test_p10_no_more_than_the_budget_is_lent() -> None:
    buffers = Buffers(250)
    one, two = buffers.take(100), buffers.take(100)
    assert one is not None
    assert two is not None
    assert buffers.take(100) is None
    small = buffers.take(50)
    assert small is not None
    buffers.give(one)
    assert buffers.take(100) is not None


def test_a_single_buffer_is_always_granted() -> None:
    buffers = Buffers(250)
    large = buffers.take(1000)
    assert large is not None
    assert buffers.take(1) is None
    buffers.give(large)
    assert buffers.take(1) is not None


def test_a_buffer_that_was_given_back_is_used_again() -> None:
    buffers = Buffers(250)
    one = buffers.take(100)
    assert one is not None
    buffers.give(one)
    assert buffers.take(100) is one


def test_p10_what_lies_unused_counts_too() -> None:
    buffers = Buffers(250)
    for size in (100, 120, 200, 90, 250, 10, 240):
        taken = [buffers.take(size), buffers.take(size)]
        kept = sum(buffer.size for buffer in (*buffers._free, *taken) if buffer)
        assert kept <= max(250, size)
        for buffer in filter(None, taken):
            buffers.give(buffer)
        assert sum(buffer.size for buffer in buffers._free) == buffers._unused <= 250


def test_a_small_buffer_for_a_reader_is_granted_whatever_is_lent() -> None:
    buffers = Buffers(250)
    assert buffers.take(250) is not None
    assert buffers.take(10) is None
    assert buffers.take(10, always=True) is not None
