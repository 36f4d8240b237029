"""README.md, §6, the grammar of chunksums, and flaw F5: what is a chunk list."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from fusefs.errors import FusefsError, InvalidChunk, InvalidChunkList, InvalidDigest
from fusefs.values.chunklimits import MAX_BLOB_SIZE, MAX_CHUNK_SIZE
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

D = str(Digest.of(b"x"))
E = str(Digest.of(b"y"))


def text(*ranges: str) -> bytes:
    return "".join(f"{D} {r}\n" for r in ranges).encode()


@pytest.mark.parametrize(
    "body",
    [
        f"{D} 0-1\n{E} 2-3\n",
        f"{D} 0-1\n{E} 2-3",
        f"{E} 2-3\n{D} 0-1\n",
        f"{D} 0-1 {E} 2-3",
        f"\n\n  {D}\t0-1\r\n{E}\n2-3\n\n",
        f"{D.replace(':', '-')} 0-1\n{E} 2-3\n",
        f"sha256:{D[7:].upper()} 0-1\n{E} 2-3\n",
        f"{D} 00-01\n{E} 02-03\n",
    ],
)
def test_any_whitespace_order_and_spelling_give_the_same_list(body: str) -> None:
    expected = ChunkList.from_pairs(4, [(Digest.parse(D), Chunk(0, 1)), (Digest.parse(E), Chunk(2, 3))])
    assert ChunkList.parse(4, body.encode()) == expected
    assert ChunkList.parse(4, (bytes([byte]) for byte in body.encode())) == expected
    assert "".join(expected.format()) == f"{D} 0-1\n{E} 2-3\n"


@pytest.mark.parametrize(
    "body", ["sha256:! 0-3", "sha256:12 0-3", "0-3", f"{D[:-1]} 0-3", "<html> </html>", '{"error":"x"}']
)
def test_a_bad_digest_is_called_that(body: str) -> None:
    with pytest.raises(InvalidDigest, match="invalid digest"):
        ChunkList.parse(4, body.encode())


def test_a_good_line_then_a_bad_digest_is_an_error() -> None:
    with pytest.raises(InvalidDigest, match="invalid digest"):
        ChunkList.parse(4, text("0-1") + b"sha256:!")


@pytest.mark.parametrize("body", [D, f"{D}\n", f"{D} 0-1\n{E}"])
def test_a_digest_without_a_range_is_called_that(body: str) -> None:
    with pytest.raises(InvalidChunk, match="missing chunk range"):
        ChunkList.parse(4, body.encode())


@pytest.mark.parametrize(
    "words",
    [
        "0",
        "03",
        "-",
        "0-",
        "-3",
        "3-0",
        "-1-3",
        "0--3",
        "a-3",
        "0-b",
        "0x0-3",
        "0-3-5",
        "+0-3",
        "0-+3",
        "0_0-3",
        "0-3,",
        "1e0-3",
        "0.0-3",
        "0\u20133",
        "\u0660-\u0663",
        "9" * 60 + "-" + "9" * 60,
        "0-" + "9" * 20,
        "0-" + "0" * 30 + "3",
    ],
)
def test_what_is_no_range_is_called_that(words: str) -> None:
    with pytest.raises(InvalidChunk, match="invalid chunk range"):
        ChunkList.parse(4, f"{D} {words}\n".encode())
    with pytest.raises(InvalidChunk, match="invalid chunk range"):
        Chunk.parse(words)


@pytest.mark.parametrize(("start", "end"), [(-1, 0), (1, 0), (-2, -1), (0, -1)])
def test_a_chunk_has_at_least_one_byte_and_no_negative_offset(start: int, end: int) -> None:
    with pytest.raises(InvalidChunk):
        Chunk(start, end)


def test_a_chunk_is_inclusive() -> None:
    chunk = Chunk.parse("2-5")
    assert (chunk.size, chunk.stop, str(chunk)) == (4, 6, "2-5")
    assert Chunk(7, 7).size == 1


@pytest.mark.parametrize(
    ("ranges", "reason"),
    [
        (("0-1", "0-1"), "overlap"),
        (("0-1", "6-7"), "behind the end"),
        (("0-3", "0-3"), "overlap"),
        (("0-1",), "chunks end at 2"),
        (("2-3",), "gap before"),
        (("0-0", "2-3"), "gap before"),
        (("0-2", "2-3"), "overlap"),
        (("0-3", "1-2"), "overlap"),
        (("1-2", "0-3"), "overlap"),
        (("0-4",), "behind the end"),
        (("4-4",), "behind the end"),
        (("0-1", "2-4"), "behind the end"),
        ((), "chunks end at 0"),
        (("0-0", "1-1", "2-2", "3-3", "3-3"), "more than 4 chunks"),
    ],
)
def test_f5_a_list_must_be_contiguous_from_0_to_the_last_byte(ranges: tuple[str, ...], reason: str) -> None:
    """Ollama adds up sizes: `0-1,0-1` and `0-1,6-7` pass for 4 bytes."""
    for order in itertools.islice(itertools.permutations(ranges), 24):
        with pytest.raises(InvalidChunkList, match=f"{reason}|overlap|gap|behind"):
            ChunkList.parse(4, text(*order))
    with pytest.raises(InvalidChunkList, match=reason):
        ChunkList.parse(4, text(*ranges))


def test_f5_no_wrong_cover_of_a_small_blob_passes() -> None:
    """Every choice of up to three ranges over 4 bytes and a little more: only true partitions pass."""
    ranges = [(s, e) for s in range(5) for e in range(s, 6)]
    passed = set()
    for count in range(4):
        for chosen in itertools.product(ranges, repeat=count):
            body = text(*(f"{s}-{e}" for s, e in chosen))
            try:
                ChunkList.parse(4, body)
            except InvalidChunkList:
                continue
            passed.add(tuple(sorted(chosen)))
    assert passed == {
        ((0, 3),),
        *(((0, i), (i + 1, 3)) for i in range(3)),
        *(((0, i), (i + 1, j), (j + 1, 3)) for i in range(3) for j in range(i + 1, 3)),
    }


def test_an_empty_list_is_that_of_an_empty_blob() -> None:
    chunks = ChunkList.parse(0, b"")
    assert (len(chunks), list(chunks), chunks.covering(0, 10)) == (0, [], range(0))
    assert chunks == ChunkList.single(Blob(Digest.of(b""), 0))
    with pytest.raises(InvalidChunkList):
        ChunkList.parse(0, text("0-0"))


@pytest.mark.parametrize("size", [-1, MAX_BLOB_SIZE + 1, 1 << 70])
def test_p10_a_size_that_no_blob_has_is_refused(size: int) -> None:
    with pytest.raises(InvalidChunkList, match="a blob cannot have"):
        ChunkList.parse(size, b"")
    with pytest.raises(InvalidChunkList, match="a blob cannot have"):
        ChunkList.uniform(size, 1 << 40)
    with pytest.raises(InvalidChunkList, match="a blob cannot have"):
        ChunkList.single(Blob(Digest.of(b""), size))
    with pytest.raises(InvalidChunkList, match="a blob cannot have"):
        ChunkList.from_pairs(size, [])


def test_p10_a_chunk_of_1_tb_is_refused() -> None:
    """One chunk is fetched and hashed as a whole before a byte of it is served."""
    size = 1 << 40
    with pytest.raises(InvalidChunkList, match="larger than"):
        ChunkList.parse(size, text(f"0-{size - 1}"))
    largest = ChunkList.parse(MAX_CHUNK_SIZE, text(f"0-{MAX_CHUNK_SIZE - 1}"))
    assert largest[0].size == MAX_CHUNK_SIZE


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", " ", "\n\n"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_list_of_many_blocks_is_read_whole(ending: str, order: int) -> None:
    """A block of text ends within a digest, between digest and range, and within a range."""
    count = 1500
    pairs = [(Digest.of(b"%d" % i), Chunk(7 * i, 7 * i + 6)) for i in range(count)]
    body = (ending or "\n").join(f"{digest} {chunk}" for digest, chunk in pairs[::order]) + ending
    expected = ChunkList.from_pairs(7 * count, pairs)
    assert ChunkList.parse(7 * count, body.encode()) == expected
    for size in (71, 4096, 65536):
        assert ChunkList.parse(7 * count, (body[i : i + size].encode() for i in range(0, len(body), size))) == expected


@pytest.mark.parametrize(
    ("digests", "reason"),
    [
        (("sha256:sha256:" + "0" * 57, "0" * 71), "sha256:sha256:"),
        (("0" * 71, "sha256:sha256:" + "0" * 57), "00000"),
    ],
)
def test_two_wrong_digests_are_not_right_together(digests: tuple[str, str], reason: str) -> None:
    with pytest.raises(FusefsError, match=reason):
        ChunkList.parse(4, f"{digests[0]} 0-1\n{digests[1]} 2-3\n".encode())


@pytest.mark.parametrize("ranges", [("0", "1-2-3"), ("0-1-2", "3"), ("-0-1", "23"), ("0-1,2", "3")])
def test_two_wrong_ranges_are_not_right_together(ranges: tuple[str, str]) -> None:
    with pytest.raises(InvalidChunk, match="invalid chunk range"):
        ChunkList.parse(4, text(*ranges))


def endless(piece: bytes, pulled: list[int]) -> Iterator[bytes]:
    while True:
        pulled[0] += 1
        assert pulled[0] < 10_000, "it reads on, though enough has been seen"
        yield piece


@pytest.mark.parametrize(
    ("size", "piece"),
    [
        (1000, text("0-0") * 1000),
        (1 << 30, b"x" * 65536),
        (1 << 30, D.encode() * 1000),
        (1000, text("0-999") * 1000),
    ],
)
def test_p10_an_endless_list_is_refused_early(size: int, piece: bytes) -> None:
    """10^8 lines, or a line of 10^8 characters, cost no more than the blob can have chunks."""
    pulled = [0]
    with pytest.raises(FusefsError):
        ChunkList.parse(size, endless(piece, pulled))
    assert pulled[0] <= 2


def test_p10_an_endless_run_of_blanks_is_refused_early() -> None:
    pulled = [0]
    with pytest.raises(InvalidChunkList, match="more text than"):
        ChunkList.parse(1000, endless(b" \n" * 32768, pulled))
    assert pulled[0] < 10


def test_p10_memory_for_a_list_that_never_ends_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Duplicates cannot be told before the end, so that the bound is the number of chunks: 48 bytes each."""
    most = 1 << 14
    monkeypatch.setattr("fusefs.values.chunklimits.MAX_CHUNKS", most)
    pulled = [0]
    tracemalloc.start()
    try:
        with pytest.raises(InvalidChunkList, match=f"more than {most}"):
            ChunkList.parse(MAX_BLOB_SIZE, endless(text("0-0") * 1000, pulled))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pulled[0] == most // 1000 + 1
    assert peak < 100 * most
