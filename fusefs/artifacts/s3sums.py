"""What S3 keeps as the sha256 of an object, as digest and pieces.

An object that was put in one go has the sha256 of its content (`FULL_OBJECT`).  One that came in parts has that of the
digests of its parts (`COMPOSITE`, base64 and `-<number of parts>`), which proves the content as well where the size of
the parts is known; the digests of the parts are then its chunk list.  Both are there only where whoever uploaded asked
for them.  Source: Amazon S3 API, HeadObject (x-amz-checksum-sha256, x-amz-checksum-type), GetObjectAttributes
(ObjectParts).
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.artifacts.listedfile import Pieces
from fusefs.values.digest import S3_PARTS, SHA256, Digest
from fusefs.values.partshash import LARGEST_PART, SMALLEST_PART, parts_hex

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUM = re.compile(r"([A-Za-z0-9+/]{43}=)(?:-([1-9]\d{0,4}))?", re.ASCII)
_IN_PARTS = re.compile(r'.*-\d+"?', re.DOTALL)
"""An ETag of an object that came in parts."""


@dataclass(frozen=True, slots=True)
class S3Sum:
    """A checksum, as S3 says it.

    Attributes:
        raw: 32 bytes.
        parts: of how many parts; 0: it is that of the content.
    """

    raw: bytes
    parts: int = 0

    @classmethod
    def read(cls, text: str, kind: str, etag: str) -> S3Sum | None:
        """Read `x-amz-checksum-sha256`.

        Args:
            text: its value; empty where there is none.
            kind: that of `x-amz-checksum-type`; empty where the server does not say.
            etag: of the object.

        Returns:
            None where there is none, or it cannot be told what it is of.
        """
        match = _SUM.fullmatch(text)
        if match is None:
            return None
        parts = int(match[2] or 0)
        if not parts and (kind.upper() == "COMPOSITE" or (not kind and _IN_PARTS.fullmatch(etag))):
            return None
        return cls(binascii.a2b_base64(match[1]), parts)


@dataclass(frozen=True, slots=True)
class S3Part:
    """A part of an object: its size in bytes, and `x-amz-checksum-sha256`, where S3 tells it."""

    size: int
    sum: str = ""


def digest_of(found: S3Sum, size: int, first_part: int) -> Digest | None:
    """The digest of an object.

    Args:
        found: its checksum.
        size: of the object, in bytes.
        first_part: bytes of its first part; for one of the content anything.

    Returns:
        None where its parts are not equal, or too small to be S3's.
    """
    if not found.parts:
        return Digest(SHA256, found.raw.hex())
    part = _grid(size, first_part)
    if not SMALLEST_PART <= part <= LARGEST_PART or -(-size // part) != found.parts:
        return None
    return Digest.of_file(f"{S3_PARTS}:{parts_hex(found.raw, part)}")


def pieces_of(digest: Digest, size: int, parts: Sequence[S3Part]) -> Pieces | None:
    """The parts of an object as pieces; None where these are not the parts that its digest was made of."""
    sums = [S3Sum.read(part.sum, "", "") for part in parts]
    raw = b"".join(one.raw for one in sums if one is not None)
    if not parts or not digest.is_made_of(size, raw):
        return None
    return Pieces(_grid(size, parts[0].size), raw)


def _grid(size: int, first_part: int) -> int:
    """Of one part alone the size says nothing, and may be less than S3's least."""
    return SMALLEST_PART if first_part == size < SMALLEST_PART else first_part
