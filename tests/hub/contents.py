"""Contents that `hf_xet` packs in different ways, and of which files are made that share chunks."""

from __future__ import annotations

import random
import struct


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that cannot be packed: their chunks are stored as they are."""
    return random.Random(seed).randbytes(size)


def floats(size: int, seed: int = 1) -> bytes:
    """Numbers of 32 bits like weights: their chunks are packed in planes of bytes."""
    found = random.Random(seed)
    return struct.pack(f"<{size // 4}f", *(found.gauss(0, 0.02) for _ in range(size // 4))) + bytes(size % 4)


def text(size: int, seed: int = 1) -> bytes:
    """Words: their chunks are packed by LZ4 alone."""
    found = random.Random(seed)
    words = [found.randbytes(3).hex() for _ in range(50)]
    return " ".join(found.choice(words) for _ in range(size // 7 + 1)).encode()[:size]
