"""Headers of model files, written by hand: what the formats' own writers do not write, and lies."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from fusefs.formats.extents import Extents
from fusefs.formats.header import read_header

if TYPE_CHECKING:
    from collections.abc import Iterable

UINT8, UINT32, STRING, ARRAY = 0, 4, 8, 9
F32 = 0

LITTLE, BIG = "<", ">"


def string(text: bytes, order: str = LITTLE) -> bytes:
    return struct.pack(order + "Q", len(text)) + text


def strings(texts: Iterable[bytes], order: str = LITTLE) -> bytes:
    """An array of strings, as a metadata value."""
    packed = [string(text, order) for text in texts]
    return struct.pack(order + "IQ", STRING, len(packed)) + b"".join(packed)


def key(name: bytes, kind: int, value: bytes, order: str = LITTLE) -> bytes:
    return string(name, order) + struct.pack(order + "I", kind) + value


def tensor(shape: Iterable[int], kind: int, off: int, order: str = LITTLE, name: bytes = b"t") -> bytes:
    dims = list(shape)
    return string(name, order) + struct.pack(f"{order}I{len(dims)}QIQ", len(dims), *dims, kind, off)


def gguf(
    keys: Iterable[bytes] = (),
    tensors: Iterable[bytes] = (),
    *,
    order: str = LITTLE,
    magic: bytes = b"GGUF",
    version: int = 3,
) -> bytes:
    """Magic, counts, keys and tensors; no padding and no data."""
    keys, tensors = list(keys), list(tensors)
    return b"".join((magic, struct.pack(order + "IQQ", version, len(tensors), len(keys)), *keys, *tensors))


def safetensors(header: dict[str, Any] | bytes) -> bytes:
    """Length and JSON; no data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def entry(begin: int, end: int) -> dict[str, Any]:
    """A tensor of bytes."""
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


def pairs(extents: Extents) -> list[tuple[int, int]]:
    return list(zip(extents.starts, extents.stops, strict=True))


def read_whole(file: bytes, size: int | None = None, first: int = 0) -> tuple[Extents, list[int]]:
    """Come back with what each answer wants, up to the extents; also returns what was wanted.

    `file` stands for a file of `size` bytes of which the rest are zeros.
    """
    size = len(file) if size is None else size
    wanted: list[int] = []
    have = first
    while True:
        answer = read_header(file[:have].ljust(have, b"\0"), size)
        if isinstance(answer, Extents):
            return answer, wanted
        wanted.append(answer)
        have = answer
