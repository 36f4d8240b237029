"""The packed form of a chunk list, as it is pinned beside a blob.

Binary, because the text of a million chunks takes seconds to read and a mount must not.  Little-endian:
`magic (16) | fingerprint (32) | size (u64) | count (u64) | flags (u16) | label length (u16) | label | starts
(u64 each) | digests (32 bytes each)`.  The fingerprint covers size, starts and digests, so that a torn or rotten
file is noticed and the list is asked for again.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array

from fusefs.chunks import MAX_CHUNKS, ChunkList
from fusefs.errors import InvalidChunkList

_MAGIC = b"fusefs-chunks 1\n"
_HEADER = struct.Struct("<16s32sQQHH")

MAX_PACKED_SIZE = _HEADER.size + 4096 + 40 * MAX_CHUNKS
"""Bytes; no valid file is longer."""


def fingerprint(chunks: ChunkList) -> bytes:
    """32 bytes that stand for this list: two lists with the same chunks and digests have the same."""
    if chunks.fingerprint is None:
        chunks.fingerprint = _fingerprint(chunks.size, *_parts(chunks))
    return chunks.fingerprint


def pack(chunks: ChunkList, label: str) -> bytes:
    """The bytes to pin; `label` says where the list came from, for a person (at most 4096 bytes of it are kept)."""
    starts, digests = _parts(chunks)
    text = label.encode("utf-8", "replace")[:4096]
    head = _HEADER.pack(_MAGIC, fingerprint(chunks), chunks.size, len(chunks), 1 if chunks.proved else 0, len(text))
    return b"".join((head, text, starts, digests))


def unpack(packed: bytes, size: int) -> tuple[ChunkList, str]:
    """Read what `pack` wrote for a blob of `size` bytes.

    Returns:
        The list and its label.

    Raises:
        InvalidChunkList: another format, torn, rotten, or of another size.
    """
    if len(packed) < _HEADER.size:
        raise InvalidChunkList("pinned chunk list: too short")
    magic, mark, listed_size, count, flags, label_size = _HEADER.unpack_from(packed)
    body = _HEADER.size + label_size
    expected = body + 8 * count + (32 * count if flags & 1 else 0)
    if magic != _MAGIC or listed_size != size or count > MAX_CHUNKS or len(packed) != expected:
        raise InvalidChunkList("pinned chunk list: another format, or torn")
    starts = packed[body : body + 8 * count]
    digests = packed[body + 8 * count :]
    if _fingerprint(size, starts, digests) != mark:
        raise InvalidChunkList("pinned chunk list: its bytes have changed")
    offsets = array("Q", starts)
    if sys.byteorder == "big":
        offsets.byteswap()
    chunks = ChunkList.from_packed(size, offsets, digests if flags & 1 else None)
    chunks.fingerprint = mark
    return chunks, packed[_HEADER.size : body].decode("utf-8", "replace")


def size_of(packed: bytes) -> int:
    """Bytes of the blob that a packed list is of; 0 when it is none.  Whether its bytes are right says `unpack`."""
    if len(packed) < _HEADER.size or not packed.startswith(_MAGIC):
        return 0
    return int(_HEADER.unpack_from(packed)[2])


def _parts(chunks: ChunkList) -> tuple[bytes, bytes]:
    starts, digests = chunks.packed()
    if sys.byteorder == "big":
        starts = array("Q", starts)
        starts.byteswap()
    return starts.tobytes(), digests or b""


def _fingerprint(size: int, starts: bytes, digests: bytes) -> bytes:
    mark = hashlib.sha256(b"%d %d\n" % (size, len(digests)))
    mark.update(starts)
    mark.update(digests)
    return mark.digest()
