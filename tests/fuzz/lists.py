"""Chunk lists as text and as they are pinned, and access traces."""

from __future__ import annotations

import hashlib
import struct

from fusefs.errors import InvalidChunkList, InvalidInput, InvalidTrace
from fusefs.values.chunklimits import MAX_CHUNK_SIZE
from fusefs.values.chunkpack import pack, unpack
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.trace import MAX_RANGES, Trace
from fusefs.values.trace import pack as pack_trace
from fusefs.values.trace import unpack as unpack_trace
from fusefs.values.voucher import NOBODY, Voucher
from tests.fuzz.target import NUMBERS, Target

SIZES = (0, 1, 100, 5000, 1 << 33, 1 << 44)
"""Of a blob that a list is read for: the first byte of an input chooses."""

_PAIRS = [(Digest.of(b"%d" % i), Chunk(100 * i, 100 * i + 99)) for i in range(50)]
_LIST = ChunkList.from_pairs(5000, _PAIRS)
_BLOB = Blob(Digest.of(b"blob"), 5000)


def size_of(data: bytes) -> int:
    """The size of the blob for an input."""
    return SIZES[data[0] % len(SIZES)] if data else 0


def check_list(chunks: ChunkList, size: int) -> None:
    """What holds of every list, wherever it came from."""
    assert chunks.size == size
    at = 0
    for chunk in chunks:
        assert chunk.start == at
        assert 1 <= chunk.size <= MAX_CHUNK_SIZE
        at = chunk.stop
    assert at == size


def chunksums(data: bytes) -> None:
    """A list is whole, is the same in pieces, and comes back from its own text."""
    size, text = size_of(data), data[1:]
    pieces = [text[off : off + 7] for off in range(0, len(text), 7)]
    try:
        chunks = ChunkList.parse(size, text)
    except InvalidInput as exc:
        try:
            ChunkList.parse(size, pieces)
        except InvalidInput as other:
            assert type(other) is type(exc)
            return
        raise AssertionError("refused whole, taken in pieces") from exc
    check_list(chunks, size)
    assert ChunkList.parse(size, pieces) == chunks
    assert ChunkList.parse(size, "".join(chunks.format()).encode()) == chunks


def packed_list(data: bytes) -> None:
    """A list of the file, or of the same file with its fingerprint put right: the checks behind it count, too."""
    size = size_of(data)
    for packed in (data[1:], _with_fingerprint(data[1:], size)):
        try:
            chunks, voucher = unpack(packed, size)
        except InvalidChunkList:
            continue
        check_list(chunks, size)
        again, same = unpack(pack(chunks, voucher), size)
        assert again == chunks
        kept = voucher.who.encode("utf-8", "replace")[:4096].decode("utf-8", "replace")
        assert same == Voucher(voucher.proof, kept)


def _with_fingerprint(packed: bytes, size: int) -> bytes:
    if len(packed) < 84:
        return packed
    count, flags, _, length = struct.unpack_from("<QBBH", packed, 56)
    digests = 32 * count if flags & 1 else 0
    checked = packed.startswith(b"fusefs-chunks 2")
    body = packed[68 + 16 * checked :]
    mark = hashlib.sha256(b"%d %d\n" % (size, digests) + body[length:]).digest()
    head = packed[:16] + mark + struct.pack("<Q", size) + packed[56:68]
    return head + (hashlib.sha256(head + body[:length]).digest()[:16] if checked else b"") + body


def start(data: bytes) -> None:
    """A start lies in its blob and asks for no byte more often than there are bytes."""
    head = 48
    blob = Blob(Digest.of(b""), size_of(data))
    body = data[1 + head :]
    for packed in (data[1:], _signed(blob, body)):
        try:
            found = unpack_trace(blob, packed)
        except InvalidTrace:
            continue
        assert len(found.ranges) <= MAX_RANGES
        assert all(0 <= begin < stop <= blob.size for begin, stop in found.ranges)
        assert sum(stop - begin for begin, stop in found.ranges) <= blob.size
        assert pack_trace(blob, found) == packed


def _signed(blob: Blob, body: bytes) -> bytes:
    mark = hashlib.sha256(b"%s %d\n" % (blob.digest.raw, blob.size) + body).digest()
    return b"fusefs-start  1\n" + mark + body


def _chunksums_seeds() -> list[bytes]:
    text = "".join(_LIST.format()).encode()
    short = "".join(ChunkList.single(Blob(Digest.of(b"x"), 1)).format()).encode()
    large = b"%s 0-4294967295\nsha256-%s 4294967296-8589934591" % (str(Digest.of(b"a")).encode(), b"0" * 64)
    return [b"\0", b"\1" + short, b"\2" + text[: 81 * 3], b"\3" + text, b"\4" + large]


def _packed_seeds() -> list[bytes]:
    single = pack(ChunkList.single(Blob(Digest.of(b""), 1)), NOBODY)
    uniform = pack(ChunkList.uniform(5000, 64), NOBODY)
    return [b"\1" + single, b"\3" + pack(_LIST, NOBODY), b"\3" + uniform, b"\5" + pack(ChunkList.uniform(0, 1), NOBODY)]


def _start_seeds() -> list[bytes]:
    blob = Blob(Digest.of(b""), 5000)
    made = [Trace(()), Trace(((0, 10), (20, 30))), Trace.of((i * 100, i * 100 + 50) for i in range(50))]
    twice = struct.pack("<QQQQ", 0, 5000, 0, 5000)  # more bytes than there are
    return [*(b"\3" + pack_trace(blob, each) for each in made), b"\3" + _signed(blob, twice)]


_WORDS = (b"sha256:", b"sha256-", b"0-0", b"-", b"\n", str(Digest.of(b"")).encode(), *NUMBERS)

TARGETS = (
    Target("chunksums", chunksums, _chunksums_seeds, _WORDS, 1 << 13),
    Target("packed-list", packed_list, _packed_seeds, (b"fusefs-chunks 1\n", b"\xff" * 8), 1 << 13),
    Target("start", start, _start_seeds, (b"fusefs-start  1\n", b"\xff" * 8)),
)
