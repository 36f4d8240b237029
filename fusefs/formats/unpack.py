"""unpacked: the bytes of a compressed layer, piece by piece, in bounded memory and up to a bounded size.

Sources: RFC 1952 (gzip; several members follow each other), RFC 8878 (zstd; several frames, and frames to be skipped).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

from fusefs.errors import InvalidPacking, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PIECE = 1 << 20
"""Bytes that come at once."""

MOST_LARGER = 200
"""Times that a layer may grow, where it grows to more than `ALWAYS`: weights do by a half, and text tenfold."""

ALWAYS = 1 << 30
"""Bytes that any layer may grow to."""

_GZIP = 16 + zlib.MAX_WBITS


class _Decompressor(Protocol):
    """Of one member or frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def most_of(packed: int) -> int:
    """Bytes that a layer of `packed` bytes may grow to: more is taken for a bomb."""
    return max(ALWAYS, packed * MOST_LARGER)


def unpacked(packing: str, pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Decompress.

    Args:
        packing: `gzip` or `zstd`.
        pieces: the compressed bytes; what they raise passes through.
        most: bytes that may come out.

    Raises:
        InvalidPacking: damaged, cut off, or larger than that.
        MissingExtra: for zstd a package is needed that is not installed.
    """
    new, errors = (_gzip, (zlib.error,)) if packing == "gzip" else _zstd()
    try:
        for piece in _decompressed(new, pieces):
            most -= len(piece)
            if most < 0:
                raise InvalidPacking(f"a {packing} layer that grows to more than any honest one does")
            yield piece
    except errors as exc:
        raise InvalidPacking(f"a damaged {packing} layer: {str(exc)[:200]}") from exc


def _decompressed(new: Callable[[], _Decompressor], pieces: Iterable[bytes]) -> Iterator[bytes]:
    part: _Decompressor | None = None
    for piece in pieces:
        data = piece
        while True:
            if part is None or part.eof:
                if not data:
                    break
                part = new()
            out = part.decompress(data, PIECE)
            data = part.unused_data if part.eof else b""  # else it keeps what is left of its input
            if out:
                yield out
            elif not part.eof:
                break  # it wants more
    if part is None or not part.eof:
        raise InvalidPacking("a compressed layer that is cut off")


class _Gzip:
    """zlib's, as the others are called: what is left of the input it keeps itself."""

    def __init__(self) -> None:
        self._part = zlib.decompressobj(_GZIP)

    @property
    def eof(self) -> bool:
        return self._part.eof

    @property
    def unused_data(self) -> bytes:
        return self._part.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._part.decompress(self._part.unconsumed_tail + data, max_length)


def _gzip() -> _Decompressor:
    return _Gzip()


def _zstd() -> tuple[Callable[[], _Decompressor], tuple[type[Exception], ...]]:
    """The library of Python 3.14, or the same for older ones."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            raise MissingExtra("a layer that is compressed with zstd", "zstd", "backports.zstd") from None
    return zstd.ZstdDecompressor, (zstd.ZstdError,)
