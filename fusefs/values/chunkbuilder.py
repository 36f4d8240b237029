"""ChunkListBuilder: collects the chunks of a list and checks that together they are one blob."""

from __future__ import annotations

from array import array
from operator import le, sub
from typing import TYPE_CHECKING, Self

from fusefs.errors import ChunkListTooFine, InvalidChunkList
from fusefs.values.chunklimits import MAX_CHUNK_SIZE, check_blob_size, most_chunks
from fusefs.values.chunksums import bounds_of, digests_of
from fusefs.values.listmemory import LISTS, ListShare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.values.digest import Digest

_BYTES_A_CHUNK = 48
"""Start, end and digest, while a list is read."""


class ChunkListBuilder:
    """Collects chunks in any order, bounded, and checks that together they are one blob.

    A context: a list that could not be read is forgotten with its end, not with that of the error.  Who tries again
    keeps the error meanwhile, and with it the frames that the list was read in: after three tries over a slow link the
    lists that nobody would ever have took all the memory there is for lists.
    """

    def __init__(self, size: int) -> None:
        """Begin one of a blob of `size` bytes.

        Raises:
            InvalidChunkList: no blob has that size.
            ListMemoryFull: other lists are read just now.
        """
        check_blob_size(size)
        self._size = size
        self._most = most_chunks(size)
        # All that it may come to is counted before its first line is read: lists that are read side by side would
        # else fail when most of each has come, and come again, and fail again.
        self._held = ListShare(LISTS)
        self._held.grow(_BYTES_A_CHUNK * self._most)
        self._begin()

    def _begin(self) -> None:
        self._starts = array("Q")
        self._ends = array("Q")
        self._digests = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._begin()
            self._held.grow(0)

    def add(self, digest: Digest, start: int, end: int) -> None:
        """Take one more chunk, the bytes from `start` to `end`.

        Raises:
            InvalidChunkList: too many, too large, or behind the end of the blob.
        """
        if end >= self._size:
            raise InvalidChunkList(f"chunk {start}-{end} lies behind the end of the blob ({self._size} bytes)")
        if end - start >= MAX_CHUNK_SIZE:
            raise InvalidChunkList(f"chunk {start}-{end} is larger than {MAX_CHUNK_SIZE} bytes")
        if len(self._starts) >= self._most:
            raise ChunkListTooFine(f"more than {len(self._starts)} chunks for {self._size} bytes")
        self._starts.append(start)
        self._ends.append(end)
        self._digests += digest.raw

    def add_words(self, words: Sequence[bytes]) -> bool:
        """Take chunks as the words of their text form, hundreds of times faster than one by one, or take none.

        Args:
            words: digest, range, digest, range…

        Returns:
            False when they are not all as they mostly are; `add` and the parsers then say what is wrong with which.
        """
        digests = digests_of(words[::2])
        bounds = bounds_of(words[1::2])
        if not digests or not bounds:
            return False
        starts, ends = bounds
        room = self._most - len(self._starts)
        if len(starts) > room or not all(map(le, starts, ends)) or max(ends) >= self._size:
            return False
        if max(map(sub, ends, starts)) >= MAX_CHUNK_SIZE:
            return False
        self._starts += starts
        self._ends += ends
        self._digests += digests
        return True

    def packed(self) -> tuple[array[int], bytes | bytearray]:
        """Starts and digests in order of offset; what was counted for them is the caller's to count from here on.

        Raises:
            InvalidChunkList: a gap, an overlap or a wrong end.
        """
        self._held.grow(0)
        if self._is_whole():
            return self._starts, self._digests
        order, expected = sorted(range(len(self._starts)), key=self._starts.__getitem__), 0
        for i in order:
            start, end = self._starts[i], self._ends[i]
            if start != expected:
                what = "gap before" if start > expected else "overlap at"
                raise InvalidChunkList(f"{what} chunk {start}-{end}: expected start {expected}")
            expected = end + 1
        if expected != self._size:
            raise InvalidChunkList(f"chunks end at {expected}, the blob has {self._size} bytes")
        starts = array("Q", (self._starts[i] for i in order))
        return starts, b"".join(self._digests[32 * i : 32 * i + 32] for i in order)

    def _is_whole(self) -> bool:
        """True when the chunks came in order, and each begins where the one before ends."""
        stops = array("Q", map((1).__add__, self._ends))
        return bool(stops) and self._starts[0] == 0 and stops[-1] == self._size and self._starts[1:] == stops[:-1]
