"""unpacked: real gzip and zstd data, whatever the pieces are, and what is refused of hostile data."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from functools import partial
from typing import TYPE_CHECKING

import pytest
from backports import zstd

from fusefs.errors import InvalidPacking
from fusefs.formats.unpack import ALWAYS, PIECE, most_of, unpacked
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

SUMMED: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": partial(zstd.compress, options=SUMMED)}
DATA = some_bytes(300_000) + bytes(3 * PIECE) + b"the end"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[off : off + size] for off in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1 << 30, 65_537, 997])
@pytest.mark.parametrize("packing", COMPRESS)
def test_what_was_compressed_comes_out_in_bounded_pieces(packing: str, size: int) -> None:
    found = list(unpacked(packing, pieces(COMPRESS[packing](DATA), size), 1 << 30))
    assert b"".join(found) == DATA
    assert max(map(len, found)) <= PIECE


@pytest.mark.parametrize("packing", COMPRESS)
def test_parts_that_follow_each_other_are_one(packing: str) -> None:
    two = COMPRESS[packing](b"one ") + COMPRESS[packing](b"") + COMPRESS[packing](b"two")
    for size in (1, 5, 1000):
        assert b"".join(unpacked(packing, pieces(two, size), 100)) == b"one two"


def test_frames_of_zstd_that_are_to_be_skipped_are() -> None:
    skipped = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"index"
    data = skipped + zstd.compress(b"one") + skipped
    for size in (1, 1000):
        assert b"".join(unpacked("zstd", pieces(data, size), 100)) == b"one"


@pytest.mark.parametrize("packing", COMPRESS)
def test_p10_what_is_cut_off_or_damaged_is_refused(packing: str) -> None:
    good = COMPRESS[packing](DATA)
    flipped = good[:50_000] + bytes([good[50_000] ^ 255]) + good[50_001:]
    for data in (b"", good[:-1], good[:10], good[: len(good) // 2], flipped, good + b"rubbish", b"rubbish" * 10):
        with pytest.raises(InvalidPacking) as caught:
            for _ in unpacked(packing, pieces(data, 5000), 1 << 30):
                pass
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("packing", COMPRESS)
def test_p10_a_bomb_ends_at_its_bound_in_bounded_memory(packing: str) -> None:
    stream = io.BytesIO()
    if packing == "gzip":
        packer = zlib.compressobj(9, wbits=31)
        parts = [packer.compress(bytes(PIECE)) for _ in range(64)]
        stream.write(b"".join([*parts, packer.flush()]))
    else:
        stream.write(zstd.compress(bytes(64 * PIECE)))
    tracemalloc.start()
    with pytest.raises(InvalidPacking, match="grows to more than any honest one"):
        for _ in unpacked(packing, [stream.getvalue()], 20 * PIECE):
            pass
    assert tracemalloc.get_traced_memory()[1] < 6 * PIECE
    tracemalloc.stop()


def test_a_layer_may_grow_by_a_ratio_or_to_what_any_layer_may() -> None:
    assert most_of(10) == ALWAYS
    assert most_of(1 << 40) == 200 << 40


def test_what_the_pieces_raise_passes_through() -> None:
    def broken() -> object:
        yield gzip.compress(DATA)[:100]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(unpacked("gzip", broken(), 1 << 30))  # type: ignore[arg-type]
