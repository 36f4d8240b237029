"""WindowProof: that some adjacent chunks are those of a file whose hash is known, at their place in it.

The content server gives it: `/v2/file-chunk-hashes/HASH` with the header `X-Range-Dirty: bytes=FIRST-LAST`.  Its answer
names a window, whole chunks that hold these bytes, and for each side of it the nodes of the Merkle tree that stand for
everything there, folded as far as can be without knowing the window.  The answer is made for changing a file without
reading it; folded together with the chunks of the window it must give the hash of the file.

Why that proves the window: each node is a preimage under a keyed hash that ends in the known one, and chunks and inner
nodes have different keys, so nobody finds another chunk for the same place.  Sizes are in the preimages, so the place
is proved as well.  The flags `at_start` and `at_end` are not needed, and not read.
Source: Xet Protocol Specification 1.1, api.md, endpoint 7; xet-core, merkle_hash_subtree.rs, for the order of nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec

from fusefs.errors import DigestMismatch, InvalidXet
from fusefs.values.chunks import Chunk
from fusefs.xet.casanswer import Offset, Size, read_answer
from fusefs.xet.merkle import Node, fold
from fusefs.xet.xethash import file_hash, hash_text, parse_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PROOF = 4 << 20
"""Bytes of an answer.  Files of 10 GiB have 33 KB; where a file repeats itself for long, its chunks cannot be folded
without knowing the window, and one line of 90 bytes stands for each."""

_MAX_NODES = 1 << 15

_MAX_LEVELS = 24
"""A parent has three children or more, but for the last one of its level: the largest file has 20 levels."""


class _Node(msgspec.Struct, frozen=True):
    hash: str
    size: Size


_Count = Annotated[int, msgspec.Meta(ge=0, le=_MAX_NODES)]


class _Gap(msgspec.Struct, frozen=True):
    nodes: list[_Node]
    levels: list[tuple[_Count, _Count]]
    """Of each level, from the chunks up, how many of the nodes stand on the left of what is above, and on the right."""


class _Window(msgspec.Struct, frozen=True, rename="camel"):
    dirty_byte_range: tuple[Offset, Offset]
    """From a byte to behind a byte."""


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    total_chunks: Size
    file_size: Size
    windows: list[_Window]
    hash_ranges: list[_Gap | None]


_decoder = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class WindowProof:
    """Of one window of a file.

    Attributes:
        window: the bytes of the file that can be proved, all of them at once: whole chunks.
        before: what stands in front of it, in order.
        after: what stands behind it, in order.
    """

    window: Chunk
    before: tuple[Node, ...]
    after: tuple[Node, ...]

    @classmethod
    def parse(cls, raw: bytes, size: int, asked: Chunk) -> WindowProof:
        """Read an answer.

        The window may be much larger than what was asked for, up to the whole file: whoever asks decides on that.

        Args:
            raw: the answer.
            size: bytes of the file.
            asked: the range that was asked for, one.

        Raises:
            InvalidXet: no such answer, for a file of another size, for several windows or one without `asked`, or its
                nodes do not stand for exactly the bytes in front of the window and behind it.
        """
        answer = read_answer(raw, _decoder, most=MAX_PROOF, objects=_MAX_NODES)
        if answer.file_size != size:
            raise InvalidXet(f"a proof for a file of {answer.file_size} bytes, not {size}")
        if len(answer.windows) != 1 or len(answer.hash_ranges) != 2:
            raise InvalidXet(
                f"a proof with {len(answer.windows)} windows and {len(answer.hash_ranges)} gaps, not 1 and 2"
            )
        start, stop = answer.windows[0].dirty_byte_range
        if start > asked.start or stop < asked.stop:
            raise InvalidXet(f"a proof of the bytes {start} to {stop} of {size}, without {asked}")
        before, after = map(_nodes, answer.hash_ranges)
        if (_bytes(before), _bytes(after)) != (start, size - stop):
            raise InvalidXet(f"a proof whose nodes do not fit round the bytes {start} to {stop} of {size}")
        return cls(Chunk(start, stop - 1), before, after)

    def verify(self, chunks: Sequence[Node], file: bytes) -> None:
        """Compare the chunks of the window with the hash of the file.

        Args:
            chunks: hash and length of each chunk, in order, from the bytes that came.
            file: the hash of the file, 32 bytes.

        Raises:
            DigestMismatch: they are not the bytes of the file at this place, or the proof is wrong.
        """
        size = _bytes(chunks)
        if size != self.window.size:
            raise DigestMismatch("a window", expected=f"{self.window.size} bytes", actual=f"{size} bytes")
        found = file_hash(fold((*self.before, *chunks, *self.after)).hash)
        if found != file:
            raise DigestMismatch("a window", expected=hash_text(file), actual=hash_text(found))


def _nodes(gap: _Gap | None) -> tuple[Node, ...]:
    """The nodes of a gap, which come in the order of the file: on the left upwards, on the right downwards."""
    if gap is None:
        return ()
    lefts, rights = [left for left, _ in gap.levels], [right for _, right in gap.levels]
    if len(gap.levels) > _MAX_LEVELS or sum(lefts) + sum(rights) != len(gap.nodes):
        raise InvalidXet(f"a proof whose {len(gap.nodes)} nodes are not those of its {len(gap.levels)} levels")
    levels = [level for level, count in enumerate(lefts) for _ in range(count)]
    levels += [level for level, count in reversed(list(enumerate(rights))) for _ in range(count)]
    return tuple(Node(parse_hash(node.hash), node.size, level) for node, level in zip(gap.nodes, levels, strict=True))


def _bytes(nodes: Sequence[Node]) -> int:
    return sum(node.size for node in nodes)
