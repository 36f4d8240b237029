"""Recent: chunks stay in memory until they were read and hashed, within a budget, and no buffer has two users."""

from __future__ import annotations

import pytest

from fusefs.cache.memory.buffer import Buffer
from fusefs.cache.memory.recent import Recent
from fusefs.cache.memory.spill import Spill

SIZE = 4096


def buffer_of(byte: int) -> Buffer:
    buffer = Buffer.of(SIZE)
    buffer.view[:] = bytes([byte]) * SIZE
    return buffer


def kept(recent: Recent, *indices: int, owner: str = "a", unread: bool = True) -> None:
    for index in indices:
        assert recent.has_room(SIZE)
        assert recent.keep(owner, index, buffer_of(index), SIZE, unread=unread)


def reply(recent: Recent, index: int, start: int, stop: int, owner: str = "a") -> bytes | None:
    view = recent.reply(owner, index, start, stop)
    return None if view is None else bytes(view)


def hashed(recent: Recent, index: int, owner: str = "a") -> bytes | None:
    with recent.hashing(owner, index) as data:
        return None if data is None else bytes(data)


def test_a_reader_is_answered_without_a_copy_until_it_has_all_of_it() -> None:
    recent = Recent(4 * SIZE, Spill(0))
    kept(recent, 7)
    assert hashed(recent, 7) == bytes([7]) * SIZE
    first = recent.reply("a", 7, 0, 1000)
    assert first is not None
    assert bytes(first) == bytes([7]) * 1000
    assert reply(recent, 7, 1000, SIZE) == bytes([7]) * (SIZE - 1000)
    assert recent.reply("a", 7, 0, 10) is None, "the page cache of the mount has it now"


def test_what_was_read_waits_for_the_running_hash() -> None:
    recent = Recent(4 * SIZE, Spill(0))
    kept(recent, 1)
    recent.reply("a", 1, 0, SIZE)
    assert hashed(recent, 1) == bytes([1]) * SIZE
    assert hashed(recent, 1) is None
    assert not recent


def test_without_a_reader_a_chunk_stays_until_it_is_hashed() -> None:
    recent = Recent(4 * SIZE, Spill(0))
    kept(recent, 1, unread=False)
    assert hashed(recent, 1) is not None
    assert not recent


def test_the_budget_holds_and_what_waits_for_the_hash_alone_goes_first() -> None:
    recent = Recent(3 * SIZE, Spill(0))
    kept(recent, 1, 2, 3)
    assert not recent.has_room(SIZE), "all are young and unread"
    recent.reply("a", 2, 0, SIZE)
    kept(recent, 4)
    assert hashed(recent, 2) is None
    assert all(hashed(recent, index) for index in (1, 3, 4))
    assert recent.used <= 3 * SIZE


def test_what_nobody_comes_for_is_given_up_after_a_while() -> None:
    recent = Recent(2 * SIZE, Spill(0))
    kept(recent, 1, 2)
    offers = 0
    while not recent.has_room(SIZE):
        offers += 1
        assert offers < 100
    assert offers >= 2, "a reader may be on its way"
    assert recent.reply("a", 1, 0, 10) is None
    assert recent.reply("a", 2, 0, 10) is not None


def test_a_buffer_is_not_used_again_while_a_reader_is_answered_from_it() -> None:
    recent = Recent(4 * SIZE, Spill(0))
    kept(recent, 1)
    hashed(recent, 1)
    view = recent.reply("a", 1, 0, SIZE)
    assert view is not None
    other = buffer_of(2)
    assert recent.keep("a", 2, other, SIZE, unread=True)
    other.view[:] = bytes(SIZE)
    assert view == bytes([1]) * SIZE, "its buffer was given away too soon"
    recent.reply("a", 99, 0, 1)  # the event loop came by: the answer has been sent
    again = buffer_of(3)
    assert recent.keep("a", 3, again, SIZE, unread=True)
    assert again.pages is view.obj


def test_a_buffer_is_not_used_again_while_it_is_hashed() -> None:
    recent = Recent(SIZE, Spill(0))
    kept(recent, 1, unread=False)
    with recent.hashing("a", 1) as data:
        assert data is not None
        assert recent.has_room(SIZE), "it may be dropped all the same"
        other = buffer_of(2)
        assert recent.keep("a", 2, other, SIZE, unread=True)
        other.view[:] = bytes(SIZE)
        assert data == bytes([1]) * SIZE


def test_a_chunk_that_comes_again_replaces_the_first() -> None:
    recent = Recent(4 * SIZE, Spill(0))
    kept(recent, 1)
    assert recent.keep("a", 1, buffer_of(9), SIZE, unread=True)
    assert reply(recent, 1, 0, 3) == bytes([9]) * 3
    assert recent.used <= 2 * SIZE


def test_owners_are_told_apart_and_forgotten_one_by_one() -> None:
    recent = Recent(4 * SIZE, Spill(0))
    kept(recent, 1, owner="a")
    kept(recent, 1, owner="b")
    recent.forget("a")
    assert recent.reply("a", 1, 0, 1) is None
    assert reply(recent, 1, 0, 1, owner="b") == b"\x01"


def test_p8_chunks_that_the_disk_does_not_take_have_the_memory_first() -> None:
    spill = Spill(4 * SIZE)
    recent = Recent(4 * SIZE, spill)
    kept(recent, 1, 2, 3, 4)
    spill.put("b", 1, bytes(3 * SIZE))
    recent.leave_to_others()
    assert recent.used <= SIZE
    assert not recent.has_room(2 * SIZE)
    spill.drop("b", 1)
    kept(recent, 5, 6, 7)
    assert recent.used == 4 * SIZE


@pytest.mark.parametrize("size", [2 * SIZE, 100 * SIZE])
def test_what_is_larger_than_the_budget_is_not_kept(size: int) -> None:
    recent = Recent(SIZE, Spill(0))
    assert not recent.has_room(size)
    buffer = Buffer.of(size)
    before = buffer.pages
    assert not recent.keep("a", 1, buffer, size, unread=True)
    assert buffer.pages is before, "it is still its owner's"
