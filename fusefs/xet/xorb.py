"""Xorbs: the packed chunks of Xet, and how a range of them is unpacked in bounded memory.

A chunk is a header of eight bytes and its packed bytes: version (1 byte, 0), packed length (3, little-endian), packing
(1), length (3).  Three packings: as it is, an LZ4 frame, or an LZ4 frame of the chunk's bytes regrouped (every fourth
byte, then every fourth from the second on, and so on), which packs numbers of four bytes better.
A range as a reconstruction names it has whole chunks and nothing else; the footer of a stored xorb is never in it.
Source: Xet Protocol Specification 1.1, xorb.md.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from lz4.frame import create_decompression_context, decompress_chunk

from fusefs.errors import InvalidXet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fusefs.values.chunks import Buffer

_HEADER = Struct("<II")
"""Two numbers of 32 bits hold a byte and three bytes each."""

HEADER_SIZE = _HEADER.size

MAX_CHUNK = 128 << 10
"""Bytes of a chunk at most."""

MAX_PACKED = 2 * MAX_CHUNK
"""Bytes of a packed chunk at most.  Writers keep a chunk as it is when packing makes it larger; xet-core's reader takes
as much as this."""

MAX_XORB = 64 << 20
"""Bytes of a xorb at most."""

_STORED, _LZ4, _REGROUPED = range(3)


def unpacked_chunks(pieces: Iterable[Buffer], count: int) -> Iterator[Buffer]:
    """The unpacked chunks of a range of a xorb, in order.

    A chunk that is stored as it is may be a view of the piece that it came in, so take it before the next one is asked
    for.  The memory needed is a piece, one packed chunk, and what the LZ4 library keeps, some 8 MiB at most.

    Args:
        pieces: the bytes of the range as they arrive; what they raise passes through.
        count: chunks of the range.

    Raises:
        InvalidXet: a header that says what may not be, a chunk of another length than its header says, fewer or more
            bytes than `count` chunks have.
    """
    context = create_decompression_context()
    waiting: list[Buffer] = []
    have, need = 0, HEADER_SIZE
    for piece in pieces:
        have += len(piece)
        if have < need:  # joined once a chunk is complete: joining at each piece would copy a chunk again and again
            waiting.append(bytes(piece))  # the caller may use its buffer again
            continue
        view = memoryview(b"".join((*waiting, piece)) if waiting else piece)
        start, need = 0, HEADER_SIZE
        while count and have - start >= HEADER_SIZE:
            packing, packed, size = _header(view, start)
            stop = start + HEADER_SIZE + packed
            if stop > have:
                need = stop - start
                break
            yield _unpacked(packing, view[start + HEADER_SIZE : stop], size, context)
            start = stop
            count -= 1
        have -= start
        waiting = [bytes(view[start:])] if have else []
        if have and not count:
            break
    if count:
        raise InvalidXet(f"a range of a xorb ends {count} chunks too early")
    if have:
        raise InvalidXet("a range of a xorb goes on behind its last chunk")


def _header(view: memoryview, start: int) -> tuple[int, int, int]:
    """Packing, packed length and length of the chunk that begins there."""
    low, high = _HEADER.unpack_from(view, start)
    version, packed, packing, size = low & 255, low >> 8, high & 255, high >> 8
    if version or packing > _REGROUPED or not (0 < packed <= MAX_PACKED and 0 < size <= MAX_CHUNK):
        raise InvalidXet(f"not a chunk of a xorb: its header is {view[start : start + HEADER_SIZE].hex()}")
    return packing, packed, size


def _unpacked(packing: int, packed: memoryview, size: int, context: object) -> Buffer:
    if packing == _STORED:
        if len(packed) != size:
            raise InvalidXet(f"a chunk of a xorb has {len(packed)} bytes, its header says {size}")
        return packed
    try:
        # One byte more than there may be: a frame that grows larger is noticed, and is not unpacked any further.
        data, read, complete = decompress_chunk(context, packed, max_length=size + 1, return_bytearray=True)
    except RuntimeError as exc:
        raise InvalidXet(f"a damaged chunk of a xorb: {str(exc)[:200]}") from exc
    if len(data) != size or read != len(packed) or not complete:
        raise InvalidXet(f"a chunk of a xorb is not one LZ4 frame of the {size} bytes that its header says")
    return _in_order(data) if packing == _REGROUPED else data


def _in_order(planes: bytearray) -> bytearray:
    """Undo the regrouping.  The first planes are one byte longer where the size is no multiple of four."""
    size = len(planes)
    data = bytearray(size)
    start = 0
    for first in range(4):
        stop = start + (size - first + 3) // 4
        data[first::4] = planes[start:stop]
        start = stop
    return data
