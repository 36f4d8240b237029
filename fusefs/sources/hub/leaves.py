"""Leaves: the chunks of Xet of which a stretch of a file consists, as they come; the leaves of its Merkle tree."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.errors import DigestMismatch
from fusefs.xet.merkle import Node
from fusefs.xet.xethash import chunk_hash, hash_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.values.chunks import Buffer, Chunk


@dataclass(slots=True)
class Leaf:
    """A chunk of Xet.

    Attributes:
        start: where in the file it begins.
        stop: where it ends.
        hash: of Xet, 32 bytes; None as long as nobody has hashed it.
        data: its bytes, of one that lies in a chunk of ours in part only.
    """

    start: int
    stop: int
    hash: bytes | None = None
    data: bytes | None = None


class Leaves:
    """Adjacent ones, in order.  For one thread."""

    def __init__(self) -> None:
        self._leaves: list[Leaf] = []
        self._starts: list[int] = []

    def add(self, start: int, stop: int) -> Leaf:
        """One more, behind the others."""
        leaf = Leaf(start, stop)
        self._leaves.append(leaf)
        self._starts.append(start)
        return leaf

    def cut(self, start: int) -> None:
        """Those from `start` on come again."""
        keep = bisect_left(self._starts, start)
        del self._leaves[keep:], self._starts[keep:]

    def between(self, start: int, stop: int) -> list[Leaf]:
        """Those of which any byte lies in [start, stop)."""
        first = max(0, bisect_right(self._starts, start) - 1)
        found = self._leaves[first : bisect_left(self._starts, stop)]
        return found[1:] if found and found[0].stop <= start else found

    def hashed(self, start: int, stop: int) -> bool:
        """Whether they begin at `start` or in front of it, and those in [start, stop) have their hashes."""
        if not self._leaves or self._leaves[0].start > start:
            return False
        return all(leaf.hash is not None for leaf in self.between(start, stop))

    def nodes(self, window: Chunk) -> list[Node]:
        """Those of a window, each of which has its hash."""
        return [Node(leaf.hash or b"", leaf.stop - leaf.start) for leaf in self.between(window.start, window.stop)]

    def hash_by(self, chunk: Chunk, pieces: Iterable[Buffer]) -> None:
        """Hash those in `chunk` by its own bytes, and compare them with what is known already.

        Args:
            chunk: a range of the file; they cover it.
            pieces: its bytes, in order.

        Raises:
            DigestMismatch: one has another hash, or other bytes, than one that came before.
        """
        parts = _Pieces(pieces)
        for leaf in self.between(chunk.start, chunk.stop):
            size = min(leaf.stop, chunk.stop) - max(leaf.start, chunk.start)
            part = parts.take(size)
            if chunk.start <= leaf.start and leaf.stop <= chunk.stop:
                found = chunk_hash(part)
                if leaf.hash is None:
                    leaf.hash = found
                elif leaf.hash != found:
                    raise DigestMismatch(f"chunk {chunk}", expected=hash_text(leaf.hash), actual=hash_text(found))
                continue
            off = max(0, chunk.start - leaf.start)
            if leaf.data is None or leaf.data[off : off + size] != part:
                raise DigestMismatch(f"chunk {chunk}", expected="the bytes that were hashed", actual="others")


class _Pieces:
    """Bytes that come in pieces, taken in other ones."""

    def __init__(self, pieces: Iterable[Buffer]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def take(self, size: int) -> memoryview:
        """The next `size` bytes, or fewer at the end."""
        parts = []
        while size > len(self._rest):
            parts.append(bytes(self._rest))  # copied: the memory of a piece is used again for the next one
            size -= len(self._rest)
            piece = next(self._pieces, None)
            self._rest = memoryview(b"" if piece is None else piece)
            if piece is None:
                break
        part, self._rest = self._rest[:size], self._rest[size:]
        return memoryview(b"".join((*parts, part))) if parts else part
