"""The header of a safetensors file: 8 bytes of length, then JSON with the place of each tensor.

Source: the format's description in the README of huggingface/safetensors.  `<length: u64 little-endian><JSON object>
<data>`; the object maps a tensor's name to `{"dtype", "shape", "data_offsets": [begin, end]}`, the offsets counting
from the end of the header, and `__metadata__` to text.  The JSON may be padded with blanks.

Unlike in GGUF, both ends of a tensor are written down.  So a tensor that overlaps another or leaves the file is no
question of this code's age: the format's own reader refuses such a file, and so does this one.  The order of names in
a JSON object means nothing, so tensors are sorted.  Gaps cost nothing and pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fusefs.errors import InvalidHeader
from fusefs.formats.extents import Extents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SMALLEST = 10
"""Bytes of the smallest file: the length and `{}`."""

MAX_OBJECTS = 1 << 18
"""Braces that a header may open: an object is a tensor, and costs 250 bytes of memory while it is decoded.  The
largest models have some ten thousand tensors a file, and metadata may hold JSON in its texts."""


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """A tensor, or `__metadata__`, which has no offsets; the other fields are skipped without being kept."""

    data_offsets: tuple[int, int] | None = None


_decoder = msgspec.json.Decoder(dict[str, _Entry])


def read(prefix: memoryview, size: int, limit: int) -> Extents | int:
    """See `read_header`; `prefix` has at least `SMALLEST` bytes, `limit` is the largest prefix that may be asked for.

    Raises:
        InvalidHeader: another format, or a header that the format's own reader would not take.
    """
    header = 8 + int.from_bytes(prefix[:8], "little")
    if prefix[8] != ord("{") or header > limit:
        raise InvalidHeader("neither GGUF nor safetensors")
    if len(prefix) < header:
        return header
    text = bytes(prefix[8:header])
    if text.count(b"{") > MAX_OBJECTS:
        raise InvalidHeader(f"safetensors header: more than {MAX_OBJECTS} tensors")
    try:
        entries = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidHeader(f"safetensors header: {str(exc)[:200]}") from exc
    return Extents.of(header, _placed(header, entries.values(), size))


def _placed(header: int, entries: Iterable[_Entry], size: int) -> Iterator[tuple[int, int]]:
    """Absolute ranges of the tensors that have a byte, in order, checked."""
    ranges = [entry.data_offsets for entry in entries if entry.data_offsets is not None]
    ranges.sort()
    before = 0
    for begin, end in ranges:
        if begin > end or begin < before or header + end > size:
            raise InvalidHeader(f"safetensors header: a tensor at {begin}-{end} overlaps another or leaves the file")
        before = end
        if begin < end:
            yield header + begin, header + end
