"""Ranges of xorbs: what is unpacked, in which pieces it may come, and what is refused."""

from __future__ import annotations

import contextlib
import random
import re
import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import InvalidXet
from fusefs.xet.xorb import MAX_CHUNK, MAX_PACKED, unpacked_chunks
from tests.counting import calls
from tests.hub.packed import header, packed_chunk, regrouped

if TYPE_CHECKING:
    from collections.abc import Iterator

RANDOM = random.Random(1).randbytes(100_000)
TEXT = b"the quick brown fox; " * 4000
CHUNKS = [RANDOM[:70_001], TEXT, RANDOM[:3], TEXT[:8192], b"x", bytes(MAX_CHUNK)]
PACKINGS = [0, 1, 2, 2, 1, 2]
RANGE = b"".join(map(packed_chunk, CHUNKS, PACKINGS))


def unpacked(data: bytes, count: int) -> list[bytes]:
    return [bytes(chunk) for chunk in unpacked_chunks([data], count)]


def test_chunks_of_every_packing_come_in_order() -> None:
    assert unpacked(RANGE, len(CHUNKS)) == CHUNKS


@given(st.lists(st.integers(0, len(RANGE)), max_size=30))
def test_it_does_not_matter_in_which_pieces_a_range_comes(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(RANGE)]
    pieces = [RANGE[start:stop] for start, stop in pairwise(ends)]
    assert [bytes(chunk) for chunk in unpacked_chunks(pieces, len(CHUNKS))] == CHUNKS


def test_pieces_may_share_one_buffer() -> None:
    buffer = bytearray(1000)

    def pieces() -> Iterator[memoryview]:
        for start in range(0, len(RANGE), len(buffer)):
            piece = RANGE[start : start + len(buffer)]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]

    assert [bytes(chunk) for chunk in unpacked_chunks(pieces(), len(CHUNKS))] == CHUNKS


@pytest.mark.parametrize("size", [*range(1, 9), 1021, 65_536, 65_537, 65_538, 65_539])
def test_bytes_are_regrouped_by_fours_whatever_the_size(size: int) -> None:
    data = RANDOM[:size]
    assert unpacked(packed_chunk(data, 2), 1) == [data]


def test_the_first_groups_have_the_bytes_that_are_left() -> None:
    """The example of the specification (xorb.md), with two bytes more."""
    assert regrouped(b"ABCDabcdxy") == b"AaxBbyCcDd"


def test_no_chunk_needs_no_bytes() -> None:
    assert unpacked(b"", 0) == []


def framed(data: bytes, size: int | None = None, packing: int = 1) -> bytes:
    """A chunk of these packed bytes."""
    return header(packing, len(data), len(data) if size is None else size) + data


FRAME = lz4.frame.compress(TEXT)


def promising(size: int) -> bytes:
    """A frame of TEXT whose header says `size`, under a checksum of the header that is right."""
    for check in range(256):
        frame: bytes = FRAME[:6] + size.to_bytes(8, "little") + bytes([check]) + FRAME[15:]
        with contextlib.suppress(RuntimeError):
            assert lz4.frame.get_frame_info(frame)["content_size"] == size
            return frame
    raise AssertionError("no checksum is right")


WRONG = {
    "an empty range": b"",
    "half a header": RANGE[:5],
    "half a chunk": RANGE[:1000],
    "a byte too many": packed_chunk(TEXT, 1) + b"\0",
    "a chunk too many": packed_chunk(TEXT, 1) * 2,
    "another version": b"\1" + packed_chunk(TEXT, 1)[1:],
    "another packing": framed(FRAME, len(TEXT), 3),
    "a packing that is never written": framed(FRAME, len(TEXT), 99),
    "no packed bytes": header(0, 0, 0),
    "no bytes": framed(lz4.frame.compress(b""), 0),
    "more bytes than a chunk may have": framed(lz4.frame.compress(bytes(MAX_CHUNK + 1)), MAX_CHUNK + 1),
    "more packed bytes than a chunk may have": framed(bytes(MAX_PACKED + 1), 100),
    "stored with fewer bytes than it says": framed(TEXT[:100], 101, 0),
    "stored with more bytes than it says": framed(TEXT[:100], 99, 0),
    "unpacks to fewer bytes than it says": framed(FRAME, len(TEXT) + 1),
    "unpacks to more bytes than it says": framed(FRAME, len(TEXT) - 1),
    "regrouped of fewer bytes than it says": framed(FRAME, len(TEXT) + 1, 2),
    "a frame that is cut": framed(FRAME[:-5], len(TEXT)),
    "a frame without its end": framed(FRAME[:-4], len(TEXT)),
    "two frames": framed(FRAME + FRAME, len(TEXT)),
    "bytes behind the frame": framed(FRAME + b"\0", len(TEXT)),
    "no frame": framed(RANDOM[:1000], 2000),
    "a block instead of a frame": framed(FRAME[7:], len(TEXT)),
    "a frame to be skipped": framed(b"\x50\x2a\x4d\x18\x04\0\0\0abcd", 4),
    "the footer of a stored xorb": b"XETBLOB\0" + RANGE,
    "a content size that is not true": framed(promising(len(TEXT) + 1), len(TEXT)),
}


@pytest.mark.parametrize("name", WRONG)
def test_p10_what_is_no_range_of_chunks_is_refused(name: str) -> None:
    with pytest.raises(InvalidXet) as refused:
        unpacked(WRONG[name], 1)
    assert re.fullmatch(r"[ -~]+", str(refused.value))


@pytest.mark.parametrize(
    "first", [header(1, MAX_PACKED + 1, 100), header(0, 100, MAX_CHUNK + 1), packed_chunk(TEXT, 1) + b"\0"]
)
def test_p10_what_is_wrong_is_refused_before_more_is_asked_for(first: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        yield first
        raise AssertionError("asked for more")

    with pytest.raises(InvalidXet):
        list(unpacked_chunks(pieces(), 1))


def test_a_chunk_that_comes_in_small_pieces_is_joined_once() -> None:
    """Joining at each piece would take a hundred times as long, and look at the header each time."""
    pieces = [RANGE[start : start + 100] for start in range(0, len(RANGE), 100)]
    assert calls(lambda: list(unpacked_chunks(pieces, len(CHUNKS)))) < 3 * len(pieces)


def test_p10_a_bomb_is_not_unpacked_further_than_its_header_says() -> None:
    """256 KiB of packed zeros are 64 MiB, and a frame may promise 2^60 bytes."""
    bomb = lz4.frame.compress(bytes(64 << 20), block_size=lz4.frame.BLOCKSIZE_MAX64KB)[:MAX_PACKED]
    for data in (framed(bomb, MAX_CHUNK), framed(promising(1 << 60), len(TEXT))):
        tracemalloc.start()
        try:
            with pytest.raises(InvalidXet):
                unpacked(data, 1)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()


@given(st.integers(0, len(RANGE) - 1), st.integers(1, 255))
def test_p10_a_flipped_byte_is_refused_or_changes_no_length(index: int, flip: int) -> None:
    """Whether the bytes are right says the hash; that a chunk has the length of its header is all that is sure here."""
    data = RANGE[:index] + bytes([RANGE[index] ^ flip]) + RANGE[index + 1 :]
    found: list[bytes] = []
    try:
        found.extend(map(bytes, unpacked_chunks([data], len(CHUNKS))))
    except InvalidXet:
        return
    assert len(found) == len(CHUNKS)
    assert sum(a != b for a, b in zip(found, CHUNKS, strict=True)) <= 1
