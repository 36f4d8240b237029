"""Merkle: evidence for tests, as a source may have it: a tree over the chunks of a blob, of which the root is known.

A leaf is sha256(0 | bytes), a node sha256(1 | left | right); a node without a sibling goes up as it is.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fusefs.errors import DigestMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fusefs.values.chunks import Buffer, Chunk
    from fusefs.values.voucher import Voucher

    Proof = Sequence[tuple[bool, bytes]]
    """From the leaf up: whether the sibling stands on the left, and its hash."""


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class MerkleTree:
    """Over `data` in chunks of `chunk_size` bytes.

    Attributes:
        root: what a manifest would name.
    """

    def __init__(self, data: bytes, chunk_size: int) -> None:
        chunks = (data[off : off + chunk_size] for off in range(0, len(data), chunk_size))
        self._levels = [[hashlib.sha256(b"\0" + chunk).digest() for chunk in chunks]]
        while len(level := self._levels[-1]) > 1:
            pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
            self._levels.append([_node(*pair) if len(pair) == 2 else pair[0] for pair in pairs])
        self.root = self._levels[-1][0]

    def proof(self, index: int) -> Proof:
        """What a client needs besides the bytes of chunk `index` to come to the root."""
        path = []
        for level in self._levels[:-1]:
            if (index ^ 1) < len(level):
                path.append((bool(index & 1), level[index ^ 1]))
            index //= 2
        return path


class MerkleEvidence:
    """An Evidence; `ask` gives the proof of a chunk by its index."""

    def __init__(self, voucher: Voucher, root: bytes, chunk_size: int, ask: Callable[[int], Proof]) -> None:
        self.voucher = voucher
        self._root = root
        self._chunk_size = chunk_size
        self._ask = ask

    def check(self, chunk: Chunk, pieces: Iterable[Buffer]) -> None:
        """As Evidence.check."""
        leaf = hashlib.sha256(b"\0")
        for piece in pieces:
            leaf.update(piece)
        node = leaf.digest()
        for on_left, sibling in self._ask(chunk.start // self._chunk_size):
            node = _node(sibling, node) if on_left else _node(node, sibling)
        if node != self._root:
            raise DigestMismatch(f"chunk {chunk} by its Merkle proof", expected=self._root.hex(), actual=node.hex())
