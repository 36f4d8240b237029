"""Merkle trees of Xet: nodes are folded into parents until one is left, the root.

The leaves are the chunks of a xorb or of a file.  Each level is scanned from left to right.  A group ends with the
first node, from the third on, whose hash is divisible by four, or with the ninth; one or two nodes that are left at the
end are a group.  The parent's hash is that of a text with a line for each child: its hash and its size in bytes.  So
the hash of a node binds how many bytes are below it, too, and by that the place of each leaf.
Source: Xet Protocol Specification 1.1, hashing.md, "Xorb Hashes".
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from fusefs.xet.xethash import hash_text, node_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FEWEST, _MOST = 3, 9
"""Children of a node but the last of its level."""


class Node(NamedTuple):
    """A chunk, or what stands for adjacent chunks.

    Attributes:
        hash: 32 bytes.
        size: bytes of the file below it.
        level: 0 of a chunk, 1 of a parent of chunks, and so on.
    """

    hash: bytes
    size: int
    level: int = 0


def fold(nodes: Sequence[Node]) -> Node:
    """The root over adjacent nodes, in order; at least one.

    Nodes of different levels stand for parts of a tree that somebody else has folded.  The root is that of the whole
    tree if each such part ends where a group of the whole tree ends.  If not, it is another one: a wrong root never
    comes out right.
    """
    rest = list(nodes)
    level = 0
    while len(rest) > 1:
        level += 1
        rest = list(_raised(rest, level))
    return rest[0]


def is_cut(node: Node) -> bool:
    """Whether a group ends with this node, if it is none of the first two of the group."""
    return not node.hash[24] & 3  # the low bits of the last of the four little-endian numbers


def group_length(nodes: Sequence[Node], start: int) -> int:
    """How many of `nodes` from `start` on are one group."""
    most = min(_MOST, len(nodes) - start)
    return next((size for size in range(_FEWEST, most) if is_cut(nodes[start + size - 1])), most)


def parent(children: Sequence[Node]) -> Node:
    """The node above a group."""
    text = "".join([f"{hash_text(child.hash)} : {child.size}\n" for child in children])
    return Node(node_hash(text.encode()), sum([child.size for child in children]), children[0].level + 1)


def _raised(nodes: Sequence[Node], level: int) -> Iterator[Node]:
    """`nodes` with each run of those below `level`, which are all one level below, folded into their parents."""
    for low, run in groupby(nodes, lambda node: node.level < level):
        if not low:
            yield from run
            continue
        below = list(run)
        start = 0
        while start < len(below):
            size = group_length(below, start)
            yield parent(below[start : start + size])
            start += size
