"""The header of a GGUF file: key-value metadata, then where each tensor lies.

Source: docs/gguf.md of ggml-org/ggml.  Versions 2 and 3, in either byte order; version 1 had other field sizes, and no
reader in use takes it any more.  `<magic><version: u32><tensor count: u64><key count: u64>`, the keys with their
values, the tensors' names, shapes, types and offsets; the data begins at the next multiple of `general.alignment`.

A tensor's end is not written down but follows from its type and shape.  Types are added and their numbers taken again
for other things, so a type that is unknown here reaches to the next tensor or the end of the file, and one that is
computed too long is cut there.

Values are stepped over, not read: the work grows with the number of strings and tensors, never with their length.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from fusefs.errors import InvalidHeader
from fusefs.formats.extents import Extents

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGICS = (b"GGUF", b"FUGG")
"""The second is the first written as a number of the other byte order; the version tells the order in either case."""

MAX_KEYS = 1 << 16
"""Real files have less than a hundred."""

MAX_TENSORS = 1 << 17
"""Real files have a few thousand: experts are kept together."""

MAX_STEPS = 1 << 21
"""Strings that are stepped over, one by one, in a header: the largest vocabulary has 0.8 million with its merges."""

_STEPS_OF_NESTED = 16  # an array in an array costs as much time as that many strings; real files have none
_MAX_DEPTH = 4  # of arrays in arrays
_MAX_DIMS = 8  # ggml has 4, "but this may change"
_MAX_KEY = (1 << 16) - 1  # gguf.md

_STEP = 64 << 10  # bytes; a try costs a request, and no request is made for less

_LEAST_KEY = 8 + 4 + 1  # an empty name, a type, one byte
_LEAST_TENSOR = 8 + 4 + 4 + 8  # an empty name, no dimensions, a type, an offset

_UINT32, _STRING, _ARRAY = 4, 8, 9

# Bytes of the metadata value types of one size.
_VALUES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

TYPES = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 40),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
    40: (64, 36),  # NVFP4
    41: (128, 18),  # Q1_0
}
"""Of each ggml type: values in a block, and bytes of a block (`ggml_blck_size`, `ggml_type_size`)."""


class _Short(Exception):  # not an error: the prefix ends here
    """The prefix ends inside the header; `wanted` bytes of it may be enough."""

    def __init__(self, wanted: int) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def read(prefix: memoryview, size: int, limit: int) -> Extents | int:
    """See `read_header`; `prefix` begins with a magic, `limit` is the largest prefix that may be asked for.

    Raises:
        InvalidHeader: another version, a count that cannot be, an offset behind the end, or no end before `limit`.
    """
    try:
        return _read(_Cursor(prefix, limit), size)
    except _Short as short:
        # Real headers take four or five tries.  An eighth more bounds those of one that makes each guess too low;
        # doubling would need as many, and fetch up to as much behind the header as there is in it.
        return min(limit, max(short.wanted, len(prefix) + max(len(prefix) // 8, _STEP)))


def _read(cursor: _Cursor, size: int) -> Extents:
    tensors, keys = cursor.counts()
    alignment = 32
    for _ in range(keys):
        cursor.owed -= _LEAST_KEY
        key = cursor.text(_MAX_KEY)
        kind = cursor.u32()
        if key == b"general.alignment":
            alignment = _alignment(kind, cursor.u32())
        else:
            cursor.skip_value(kind)
    infos = []
    for _ in range(tensors):
        cursor.owed -= _LEAST_TENSOR
        infos.append(cursor.tensor())
    data = -(-cursor.pos // alignment) * alignment
    return Extents.of(min(data, size), _placed(data, infos, size))


def _alignment(kind: int, value: int) -> int:
    if kind != _UINT32 or value.bit_count() != 1:
        raise InvalidHeader(f"GGUF header: an alignment of {value} (type {kind})")
    return value


def _placed(data: int, infos: list[tuple[int, int | None]], size: int) -> Iterator[tuple[int, int]]:
    """Absolute ranges of the tensors that have a byte, in order, none into another or out of the file."""
    ranges = [(data + off, size if length is None else data + off + length) for off, length in infos if length != 0]
    ranges.sort()
    limits = [start for start, _ in ranges[1:]]
    limits.append(size)
    for (start, stop), limit in zip(ranges, limits, strict=False):  # without tensors there is one limit too many
        if start >= size:
            raise InvalidHeader(f"GGUF header: a tensor at {start} in a file of {size} bytes")
        if start < min(stop, limit):
            yield start, min(stop, limit)


class _Cursor:
    """Steps through the header.

    Attributes:
        pos: offset of the next byte.
        owed: bytes that must still come, at least, behind what is being stepped over.
    """

    def __init__(self, prefix: memoryview, limit: int) -> None:
        self._prefix = prefix
        self._limit = limit
        self._steps = MAX_STEPS
        self.pos = 8
        self.owed = 0
        order = _byte_order(bytes(prefix[:8]))
        self._u32 = struct.Struct(order + "I")
        self._u64 = struct.Struct(order + "Q")
        self._infos = [struct.Struct(f"{order}{dims}QIQ") for dims in range(_MAX_DIMS + 1)]

    def counts(self) -> tuple[int, int]:
        """How many tensors and keys there are."""
        tensors, keys = self.u64(), self.u64()
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise InvalidHeader(f"GGUF header: {tensors} tensors and {keys} keys")
        self.owed = tensors * _LEAST_TENSOR + keys * _LEAST_KEY
        return tensors, keys

    def u32(self) -> int:
        """The next 4 bytes."""
        value: int = self._u32.unpack_from(self._prefix, self._skip(4))[0]
        return value

    def u64(self) -> int:
        """The next 8 bytes."""
        value: int = self._u64.unpack_from(self._prefix, self._skip(8))[0]
        return value

    def text(self, longest: int) -> bytes:
        """The next string, of at most `longest` bytes."""
        size = self.u64()
        if size > longest:
            raise InvalidHeader(f"GGUF header: a name of {size} bytes")
        off = self._skip(size)
        return bytes(self._prefix[off : off + size])

    def skip_value(self, kind: int) -> None:
        """Step over a metadata value."""
        if kind == _ARRAY:
            self._skip_array(1)
        else:
            self._skip_values(kind, 1)

    def tensor(self) -> tuple[int, int | None]:
        """The offset of the next tensor's data behind the header, and its bytes (None: unknown)."""
        self._skip_strings(1)
        dims = self.u32()
        if dims > _MAX_DIMS:
            raise InvalidHeader(f"GGUF header: a tensor of {dims} dimensions")
        info = self._infos[dims]
        *shape, kind, off = info.unpack_from(self._prefix, self._skip(info.size))
        return off, _length(kind, shape)

    def _skip_array(self, depth: int) -> None:
        kind, count = self.u32(), self.u64()
        if kind != _ARRAY:
            self._skip_values(kind, count)
            return
        if depth == _MAX_DEPTH:
            raise InvalidHeader(f"GGUF header: arrays nested more than {_MAX_DEPTH} deep")
        self._spend(_STEPS_OF_NESTED * count)
        for _ in range(count):
            self._skip_array(depth + 1)

    def _skip_values(self, kind: int, count: int) -> None:
        if kind == _STRING:
            self._skip_strings(count)
        elif kind in _VALUES:
            self._skip(_VALUES[kind] * count)
        else:
            raise InvalidHeader(f"GGUF header: a value of unknown type {kind}")

    def _skip_strings(self, count: int) -> None:
        self._spend(count)
        pos, prefix, length_at, left = self.pos, self._prefix, self._u64.unpack_from, count
        try:
            # The one hot loop: a length, and on to the next.  What lies behind the prefix ends it.
            for left in range(count, 0, -1):  # noqa: B007  # used when it ends early
                pos += 8 + length_at(prefix, pos)[0]
        except (struct.error, OverflowError):
            # As long as those so far and a quarter more: the first strings of a vocabulary are its short ones.
            each = (pos - self.pos) * 5 // (4 * max(count - left, 1))
            self._reach(pos + 8 * left, guess=pos + each * left)
        self.pos = pos
        self._reach(pos)

    def _spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise InvalidHeader(f"GGUF header: more than {MAX_STEPS} strings")

    def _skip(self, size: int) -> int:
        """Step over `size` bytes; returns where they begin."""
        off = self.pos
        self.pos += size
        if self.pos > len(self._prefix):
            self._reach(self.pos)
        return off

    def _reach(self, pos: int, guess: int = 0) -> None:
        """Go on only when the prefix reaches to `pos`, and what is owed has room behind it.

        Args:
            pos: where the header goes on, at least.
            guess: where it may go on rather.
        """
        if pos + self.owed > self._limit:
            raise InvalidHeader("GGUF header: it does not end in time")
        if pos > len(self._prefix):
            raise _Short(max(pos, guess) + self.owed)


def _byte_order(begin: bytes) -> str:
    """The sign that `struct` knows the byte order by; the version tells it, as the magic does not."""
    for order in "<>":
        if struct.unpack_from(order + "I", begin, 4)[0] in (2, 3):
            return order
    raise InvalidHeader(f"GGUF header: unknown version {begin[4:].hex()}")


def _length(kind: int, shape: list[int]) -> int | None:
    """Bytes of a tensor; None when its type is unknown or its rows are no whole blocks of that type."""
    elements = math.prod(shape)
    block, size = TYPES.get(kind, (0, 0))
    if not elements:
        return 0
    if not block or (shape[0] if shape else 1) % block:
        return None
    return elements // block * size
