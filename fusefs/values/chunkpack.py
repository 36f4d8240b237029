"""The packed form of a chunk list, as it is pinned beside a blob.

Binary, because the text of a million chunks takes seconds to read and a mount must not.  Little-endian:
`magic (16) | fingerprint (32) | size (u64) | count (u64) | flags (u8) | proof (u8) | length of who (u16) | check (16) |
who | starts (u64 each) | digests (32 bytes each)`.  The fingerprint covers size, starts and digests, so that a torn or
rotten file is noticed and the list is asked for again.  The check is the front of the sha256 of everything before it
and of `who`: no rot makes a voucher better than it was.

Version 3 is a list whose digests become known one by one.  Its digests are *slots*: zeros are unknown.  They change as
chunks come, so the fingerprint does not cover them: a slot that is torn or rotten matches no bytes, and the chunk is
fetched again.  The fingerprint covers whose word the evidence is, for what one accepted must not count for another.

Version 1 had neither proof nor check, and a label in the place of `who`: its lists are read as `UNKNOWN`'s.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from typing import TYPE_CHECKING, NamedTuple

from fusefs.errors import InvalidChunkList
from fusefs.values.chunklimits import MAX_CHUNKS
from fusefs.values.chunks import ChunkList
from fusefs.values.voucher import NOBODY, UNKNOWN, Proof, Voucher

if TYPE_CHECKING:
    from fusefs.values.chunks import Buffer

_MAGIC, _MAGIC_1, _MAGIC_3 = b"fusefs-chunks 2\n", b"fusefs-chunks 1\n", b"fusefs-chunks 3\n"
_HEADER, _HEADER_1 = struct.Struct("<16s32sQQBBH"), struct.Struct("<16s32sQQHH")
_CHECK = 16
_HAS_DIGESTS = 1
_MOST_OF_WHO = 4096

MAX_PACKED_SIZE = _HEADER.size + _CHECK + _MOST_OF_WHO + 40 * MAX_CHUNKS
"""Bytes; no valid file is longer."""


def fingerprint(chunks: ChunkList) -> bytes:
    """32 bytes that stand for this list: lists of one kind with the same chunks and fixed digests have the same."""
    if chunks.fingerprint is None:
        chunks.fingerprint = _fingerprint(chunks.size, *_parts(chunks), chunks.voucher)
    return chunks.fingerprint


def pack(chunks: ChunkList, voucher: Voucher) -> bytes:
    """The bytes to pin; at most 4096 bytes of `voucher.who` are kept.

    Of a list that is not complete the slots are empty (`slots_at`), and the voucher is its own.
    """
    starts, digests = _parts(chunks)
    magic, flags = _MAGIC, _HAS_DIGESTS
    if not chunks.complete:
        magic, flags, voucher, digests = _MAGIC_3, 0, chunks.voucher or NOBODY, bytes(32 * len(chunks))
    who = voucher.who.encode("utf-8", "replace")[:_MOST_OF_WHO]
    head = _HEADER.pack(magic, fingerprint(chunks), chunks.size, len(chunks), flags, voucher.proof, len(who))
    return b"".join((head, _check(head, who), who, starts, digests))


def unpack(packed: Buffer, size: int, *, mapped: bool = False) -> tuple[ChunkList, Voucher]:
    """Read what `pack` wrote for a blob of `size` bytes, in this version or one before.

    Returns:
        The list, and who stands behind it.  Its digests are those of `packed`; when that is `mapped`, they take no
        memory.  Slots are not read: they go on changing where they lie.

    Raises:
        InvalidChunkList: another format, torn, rotten, or of another size.
    """
    view = memoryview(packed)
    head = _head_of(bytes(view[:FRONT]))
    body = head.size + 8 * head.chunks
    if head.blob_size != size or head.chunks > MAX_CHUNKS or len(packed) != body + 32 * head.chunks:
        raise InvalidChunkList("pinned chunk list: of another blob, or torn")
    starts, digests = view[head.size : body], view[body:] if head.complete else None
    if _fingerprint(size, starts, digests or b"", head.evidence) != head.fingerprint:
        raise InvalidChunkList("pinned chunk list: its bytes have changed")
    offsets = array("Q")
    offsets.frombytes(starts)
    if sys.byteorder == "big":
        offsets.byteswap()
    chunks = ChunkList.from_packed(size, offsets, digests, mapped=mapped, voucher=head.evidence)
    chunks.fingerprint = head.fingerprint
    return chunks, head.voucher


def slots_at(front: bytes) -> int:
    """Where the slots of a packed list that is not complete begin, of which `front` (`FRONT` bytes, or all) is known.

    Raises:
        InvalidChunkList: it is no packed list, or rotten, or complete.
    """
    head = _head_of(front)
    if head.complete:
        raise InvalidChunkList("pinned chunk list: it has no slots")
    return head.size + 8 * head.chunks


def voucher_of(front: bytes) -> Voucher:
    """Who stands behind a packed list of which `front` (`FRONT` bytes, or all) is known.

    Raises:
        InvalidChunkList: it is no packed list, or rotten.
    """
    return _head_of(front).voucher


FRONT = _HEADER.size + _CHECK + _MOST_OF_WHO
"""Bytes of a packed list in which its voucher lies."""


class _Head(NamedTuple):
    """What stands before the chunks.

    Attributes:
        size: bytes of it.
        blob_size: bytes of the blob.
        chunks: how many.
        complete: their digests follow, and not slots.
    """

    size: int
    fingerprint: bytes
    blob_size: int
    chunks: int
    complete: bool
    voucher: Voucher

    @property
    def evidence(self) -> Voucher | None:
        """Whose word the evidence is by which chunks are accepted; None where there is none."""
        return None if self.complete or self.voucher.proof == Proof.NONE else self.voucher


def _head_of(packed: bytes) -> _Head:
    if packed.startswith((_MAGIC, _MAGIC_3)) and len(packed) >= _HEADER.size + _CHECK:
        magic, mark, size, count, flags, proof, length = _HEADER.unpack_from(packed)
        end = _HEADER.size + _CHECK + length
        who = packed[_HEADER.size + _CHECK : end]
        if packed[_HEADER.size : _HEADER.size + _CHECK] != _check(packed[: _HEADER.size], who):
            raise InvalidChunkList("pinned chunk list: its head has changed")
        if bool(flags & _HAS_DIGESTS) != (magic == _MAGIC):
            raise InvalidChunkList("pinned chunk list: digests that do not go with its version")
        try:
            voucher = Voucher(Proof(proof), who.decode("utf-8", "replace"))
        except ValueError as exc:  # of a version to come
            raise InvalidChunkList("pinned chunk list: an unknown kind of voucher") from exc
        return _Head(end, mark, size, count, magic == _MAGIC, voucher)
    if packed.startswith(_MAGIC_1) and len(packed) >= _HEADER_1.size:
        _, mark, size, count, flags, length = _HEADER_1.unpack_from(packed)
        if not flags & _HAS_DIGESTS:
            raise InvalidChunkList("pinned chunk list: without digests")
        return _Head(_HEADER_1.size + length, mark, size, count, True, UNKNOWN)
    raise InvalidChunkList("pinned chunk list: another format, or torn")


def _check(head: bytes, who: bytes) -> bytes:
    return hashlib.sha256(head + who).digest()[:_CHECK]


def size_of(packed: bytes) -> int:
    """Bytes of the blob that a packed list is of; 0 when it is none.  Whether its bytes are right says `unpack`."""
    try:
        return _head_of(packed).blob_size
    except InvalidChunkList:
        return 0


def _parts(chunks: ChunkList) -> tuple[bytes, Buffer]:
    starts, digests = chunks.packed()
    if sys.byteorder == "big":
        starts = array("Q", starts)
        starts.byteswap()
    return starts.tobytes(), digests or b""


def _fingerprint(size: int, starts: Buffer, digests: Buffer, evidence: Voucher | None) -> bytes:
    head = f"{size} {len(digests)}\n" if evidence is None else f"{size} by {evidence.proof:d} {evidence.who}\n"
    mark = hashlib.sha256(head.encode("utf-8", "replace"))
    mark.update(starts)
    mark.update(digests)
    return mark.digest()
