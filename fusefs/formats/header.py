"""read_header: the tensors of a model file, from its first bytes, whatever format they turn out to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.errors import InvalidHeader
from fusefs.formats import gguf, safetensors
from fusefs.values.chunklimits import MAX_BLOB_SIZE

if TYPE_CHECKING:
    from fusefs.formats.extents import Extents

MAX_HEADER = 32 << 20
"""Bytes of a file that are looked at: GGUF headers of today's largest vocabularies have half as many."""

_FIRST = 64 << 10
"""Bytes to begin with: the whole header of most safetensors files."""


def read_header(prefix: bytes | memoryview, size: int) -> Extents | int:
    """Find the tensors of a GGUF or safetensors file.

    Time and memory are bounded by `MAX_HEADER` and the limits of the formats, whatever the bytes are.  Coming back with
    what the answer wants ends: real headers take two tries (safetensors) or five (GGUF), a hostile one fifty.

    Args:
        prefix: the first bytes of the file; b"" asks how many are wanted to begin with.
        size: bytes of the whole file.

    Returns:
        The extents when the header is whole, else how many bytes of prefix to come back with: more than now, at most
        `size` and `MAX_HEADER`.

    Raises:
        InvalidHeader: neither of the formats, or a header that no honest writer writes.
    """
    if not safetensors.SMALLEST <= size <= MAX_BLOB_SIZE:
        raise InvalidHeader(f"no model file has {size} bytes")
    limit = min(size, MAX_HEADER)
    view = memoryview(prefix)[:limit]
    if len(view) < safetensors.SMALLEST:
        return min(_FIRST, limit)
    if bytes(view[:4]) in gguf.MAGICS:
        return gguf.read(view, size, limit)
    return safetensors.read(view, size, limit)
