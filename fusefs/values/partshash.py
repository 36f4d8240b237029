"""PartsHash: S3's checksum of an object that came in parts: the sha256 of the sha256 digests of its parts.

It means something only with the size of the parts, which therefore stands behind it: 64 hexadecimal digits of the hash,
then 16 of that size in bytes.  Source: Amazon S3 User Guide, "Checking object integrity", composite checksums.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

SMALLEST_PART = 5 << 20
"""Bytes of a part at least, but for the last: what S3 demands.  Hashing in parts of a few bytes would take for ever."""

LARGEST_PART = 5 << 30
_DIGITS = 64


class PartsHash:
    """Like an object of hashlib.

    Args:
        part_size: bytes of every part but the last, which may be shorter.
    """

    def __init__(self, part_size: int) -> None:
        self._size = part_size
        self._whole = hashlib.sha256()
        self._part = hashlib.sha256()
        self._filled = 0

    def update(self, data: Buffer, /) -> None:
        """Take more bytes."""
        view = memoryview(data).cast("B")
        while view:
            piece = view[: self._size - self._filled]
            self._part.update(piece)
            self._filled += len(piece)
            view = view[len(piece) :]
            if self._filled == self._size:
                self._whole.update(self._part.digest())
                self._part, self._filled = hashlib.sha256(), 0

    def hexdigest(self) -> str:
        """Of all bytes so far."""
        whole = self._whole.copy()
        if self._filled:
            whole.update(self._part.digest())
        return parts_hex(whole.digest(), self._size)


def parts_hex(composite: bytes, part_size: int) -> str:
    """The digits of a digest.

    Args:
        composite: the sha256 of the digests of the parts.
        part_size: bytes of every part but the last.
    """
    return f"{composite.hex()}{part_size:016x}"


def part_size_of(digits: str) -> int:
    """Bytes of a part; 0 where no honest object has such parts."""
    size = int(digits[_DIGITS:], 16)
    return size if SMALLEST_PART <= size <= LARGEST_PART else 0


def parts_match(digits: str, size: int, part_digests: Buffer) -> bool:
    """Whether the digests of all parts, 32 bytes each in order, are those that a digest was made of.

    Args:
        digits: of the digest.
        size: of the object, in bytes.
        part_digests: of its parts.
    """
    view = memoryview(part_digests).cast("B")
    part_size = part_size_of(digits)
    if not part_size or len(view) != 32 * -(-size // part_size):
        return False
    return parts_hex(hashlib.sha256(view).digest(), part_size) == digits
