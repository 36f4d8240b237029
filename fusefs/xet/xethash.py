"""Hashes of Xet: BLAKE3 under a key that says what is hashed, and the text form, which is not plain hexadecimal.

A hash is 32 raw bytes here.  As text it is four little-endian 64-bit numbers, each as 16 hexadecimal digits.
Source: Xet Protocol Specification 1.1, hashing.md, and api.md, "Converting Hashes to Strings".
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from blake3 import blake3

from fusefs.errors import InvalidXet

if TYPE_CHECKING:
    from fusefs.values.chunks import Buffer

HASH_SIZE = 32
"""Bytes of a hash."""

_CHUNK_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
_NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
_FILE_KEY = bytes(HASH_SIZE)

_TEXT = re.compile(r"[0-9a-f]{64}")
_READ, _RAW = struct.Struct(">4Q"), struct.Struct("<4Q")


def parse_hash(text: str) -> bytes:
    """The 32 bytes of a hash.

    Raises:
        InvalidXet: it is not 64 lower-case hexadecimal digits.  The Hub shows asterisks to whoever may not read a file.
    """
    if not _TEXT.fullmatch(text):
        raise InvalidXet(f"invalid Xet hash {text[:80]!r}: want 64 lower-case hexadecimal digits")
    return _RAW.pack(*_READ.unpack(bytes.fromhex(text)))


def hash_text(raw: bytes) -> str:
    """What `parse_hash` reads: 64 lower-case hexadecimal digits."""
    return _READ.pack(*_RAW.unpack(raw)).hex()


def chunk_hash(data: Buffer) -> bytes:
    """The hash of a chunk, of its unpacked bytes."""
    return blake3(data, key=_CHUNK_KEY).digest()


def node_hash(children: bytes) -> bytes:
    """The hash of an inner node of a Merkle tree, of the text that names its children (`fusefs.xet.merkle`)."""
    return blake3(children, key=_NODE_KEY).digest()


def file_hash(root: bytes) -> bytes:
    """The hash of a file, of the root over all its chunks.  A file of one whole xorb has the xorb's hash as root."""
    return blake3(root, key=_FILE_KEY).digest()
