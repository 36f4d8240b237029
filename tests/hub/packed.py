"""Chunks of xorbs by hand, in the packing that one wants; `hf_xet` chooses for itself."""

from __future__ import annotations

import lz4.frame


def packed_chunk(data: bytes, packing: int) -> bytes:
    """One chunk of a xorb.

    Args:
        data: its bytes.
        packing: 0 as it is, 1 as an LZ4 frame, 2 regrouped and as an LZ4 frame.
    """
    packed = data if packing == 0 else lz4.frame.compress(data if packing == 1 else regrouped(data), store_size=False)
    return header(packing, len(packed), len(data)) + packed


def header(packing: int, packed: int, size: int) -> bytes:
    """The header of a chunk of `size` bytes, `packed` when packed; it may lie."""
    return b"\0" + packed.to_bytes(3, "little") + bytes([packing]) + size.to_bytes(3, "little")


def regrouped(data: bytes) -> bytes:
    """Every fourth byte, then every fourth from the second on, and so on."""
    return b"".join(data[first::4] for first in range(4))
