from __future__ import annotations

import hashlib
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import InvalidInput, InvalidTrace
from fusefs.values.chunks import Blob
from fusefs.values.digest import Digest
from fusefs.values.trace import MAX_PACKED_SIZE, MAX_RANGES, Trace, pack, unpack

BLOB = Blob(Digest.of(b"a"), 1000)
START = Trace(((900, 1000), (0, 64), (128, 192)))


def test_what_is_packed_is_unpacked_in_its_order() -> None:
    assert unpack(BLOB, pack(BLOB, START)) == START
    assert unpack(BLOB, pack(BLOB, Trace(()))) == Trace(())


def test_ranges_that_go_on_where_the_one_before_ended_are_joined() -> None:
    assert Trace.of([(0, 10), (10, 20), (30, 40), (20, 30), (40, 50), (50, 50), (50, 60), (80, 80)]) == Trace(
        ((0, 20), (30, 40), (20, 30), (40, 60))
    )


def test_the_first_ranges_are_kept_when_there_are_too_many() -> None:
    many = [(2 * number, 2 * number + 1) for number in range(MAX_RANGES + 5)]
    start = Trace.of(many)
    assert start.ranges == tuple(many[:MAX_RANGES])
    assert Trace.of([*many[:MAX_RANGES], (2 * MAX_RANGES - 1, 2 * MAX_RANGES)]).ranges[-1] == (
        2 * MAX_RANGES - 2,
        2 * MAX_RANGES,
    )
    large = Blob(BLOB.digest, 1 << 20)
    packed = pack(large, start)
    assert len(packed) == MAX_PACKED_SIZE
    assert unpack(large, packed) == start


@pytest.mark.parametrize("other", [Blob(Digest.of(b"b"), 1000), Blob(BLOB.digest, 1001), Blob(BLOB.digest, 999)])
def test_a_start_of_another_blob_is_refused(other: Blob) -> None:
    with pytest.raises(InvalidTrace):
        unpack(other, pack(BLOB, START))


def test_no_byte_may_change_and_none_may_be_missing() -> None:
    packed = pack(BLOB, START)
    for off in range(len(packed)):
        with pytest.raises(InvalidTrace):
            unpack(BLOB, packed[:off])
        damaged = bytearray(packed)
        damaged[off] ^= 1
        with pytest.raises(InvalidTrace):
            unpack(BLOB, bytes(damaged))
    for more in (b"\0", bytes(16)):
        with pytest.raises(InvalidTrace):
            unpack(BLOB, packed + more)


def forged(*offs: int, more: bytes = b"") -> bytes:
    """A record with a right fingerprint, as anybody can write one."""
    body = array("Q", offs).tobytes() + more
    mark = hashlib.sha256(b"%s %d\n" % (BLOB.digest.raw, BLOB.size) + body).digest()
    return b"fusefs-start  1\n" + mark + body


def test_the_forger_of_these_tests_knows_the_format() -> None:
    assert unpack(BLOB, forged(900, 1000, 0, 64, 128, 192)) == START


@pytest.mark.parametrize("more", [bytes(3), bytes(8), bytes(15)])
def test_a_part_of_a_range_is_refused(more: bytes) -> None:
    with pytest.raises(InvalidTrace):
        unpack(BLOB, forged(900, 1000, more=more))


LIES = {
    "empty": ((5, 5),),
    "backwards": ((6, 5),),
    "behind the end": ((999, 1001),),
    "2^64": ((0, 2**64 - 1),),
    "more bytes than the blob has": ((0, 600), (300, 701)),
}


@pytest.mark.parametrize("lie", LIES)
def test_ranges_that_no_reader_can_have_wanted_are_refused_both_ways(lie: str) -> None:
    with pytest.raises(InvalidTrace):
        pack(BLOB, Trace(LIES[lie]))
    with pytest.raises(InvalidTrace):
        unpack(BLOB, forged(*(off for pair in LIES[lie] for off in pair)))


def test_more_ranges_than_are_kept_are_refused_both_ways() -> None:
    large = Blob(BLOB.digest, 1 << 20)
    too_many = Trace(tuple((2 * number, 2 * number + 1) for number in range(MAX_RANGES + 1)))
    with pytest.raises(InvalidTrace):
        pack(large, too_many)
    body = array("Q", (off for pair in too_many.ranges for off in pair)).tobytes()
    mark = hashlib.sha256(b"%s %d\n" % (large.digest.raw, large.size) + body).digest()
    with pytest.raises(InvalidTrace):
        unpack(large, b"fusefs-start  1\n" + mark + body)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_start_of_this_blob_or_refused(data: bytes, with_magic: bool) -> None:
    try:
        start = unpack(BLOB, b"fusefs-start  1\n" * with_magic + data)
    except InvalidInput:
        return
    assert pack(BLOB, start) == b"fusefs-start  1\n" * with_magic + data


@given(st.permutations([(off, off + 10) for off in range(0, 1000, 10)]))
def test_any_order_of_chunks_comes_back(order: list[tuple[int, int]]) -> None:
    start = unpack(BLOB, pack(BLOB, Trace.of(order)))
    assert [(off, off + 10) for begin, stop in start.ranges for off in range(begin, stop, 10)] == order
