"""Shard: which chunks of which xorbs a file is made of, as `hf_xet` writes it down when it stores files.

Source of the format: https://huggingface.co/docs/xet/shard.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

MAGIC = b"HFRepoMetaData\0"
_ENTRY = 48
_BOOKEND = b"\xff" * 32
_WITH_VERIFICATION, _WITH_METADATA = 1 << 31, 1 << 30


@dataclass(frozen=True)
class Term:
    """A run of chunks: `start` to `stop` (exclusive) of the xorb, `size` bytes unpacked."""

    xorb: bytes
    start: int
    stop: int
    size: int


@dataclass
class Shard:
    """What one shard says; hashes are 32 raw bytes.

    Attributes:
        files: the terms of each file.
        xorbs: the chunks of each xorb, as hash and unpacked size.
    """

    files: dict[bytes, tuple[Term, ...]] = field(default_factory=dict)
    xorbs: dict[bytes, tuple[tuple[bytes, int], ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> Shard:
        """Read the text of one shard."""
        shard = cls()
        off = _ENTRY  # of the header
        while (file_hash := data[off : off + 32]) != _BOOKEND:
            flags, count = struct.unpack_from("<II", data, off + 32)
            entries = [struct.unpack_from("<32sIIII", data, off + _ENTRY * (1 + i)) for i in range(count)]
            shard.files[file_hash] = tuple(Term(xorb, start, stop, size) for xorb, _, size, start, stop in entries)
            verified = count if flags & _WITH_VERIFICATION else 0
            off += _ENTRY * (1 + count + verified + bool(flags & _WITH_METADATA))
        off += _ENTRY
        while (xorb_hash := data[off : off + 32]) != _BOOKEND:
            (count,) = struct.unpack_from("<I", data, off + 36)
            chunks = [struct.unpack_from("<32sII", data, off + _ENTRY * (1 + i)) for i in range(count)]
            shard.xorbs[xorb_hash] = tuple((chunk, size) for chunk, _, size in chunks)
            off += _ENTRY * (1 + count)
        return shard
