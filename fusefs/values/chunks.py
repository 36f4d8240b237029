"""Chunk, Blob and ChunkList: which bytes of a blob have which digest, and the chunksums text form.

A chunk list is kept packed (40 bytes a chunk), because a 1 TiB blob may have 2^20 chunks.
The text form is that of Ollama's registry: whitespace-separated pairs `<digest> <start>-<end>`, inclusive, decimal,
in any order.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import chain
from operator import eq, lt, sub
from typing import TYPE_CHECKING, Self

from fusefs.errors import ChunkListTooFine, InvalidChunk, InvalidChunkList
from fusefs.values.chunkbuilder import ChunkListBuilder
from fusefs.values.chunklimits import MAX_CHUNK_SIZE, MAX_CHUNKS, check_blob_size, most_chunks
from fusefs.values.chunksums import LONGEST_LINE, text_of, words_of
from fusefs.values.digest import Digest
from fusefs.values.listmemory import LISTS, ListShare
from fusefs.values.slots import NoSlots, Slots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fusefs.values.voucher import Voucher

    Starts = array[int] | range
    """Offsets of chunks, in order."""

    Buffer = bytes | bytearray | memoryview
    """Bytes of ours, or of a mapped file."""


_NO_SLOTS = NoSlots()

_FORMATTED = 4096
"""Lines of text whose digests are written out together."""

_new, _set = object.__new__, object.__setattr__


@dataclass(frozen=True, slots=True)
class Blob:
    """What a blob is called and how long it is.

    Attributes:
        digest: its sha256.
        size: in bytes, as the manifest says.
    """

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, order=True)
class Chunk:
    """An inclusive byte range of a blob.

    Attributes:
        start: offset of the first byte.
        end: offset of the last byte.
        stop: offset just behind the last byte.
        size: length in bytes; at least 1.
    """

    start: int
    end: int
    stop: int = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise InvalidChunk(f"invalid chunk range {self.start}-{self.end}")
        _set(self, "stop", self.end + 1)
        _set(self, "size", self.end + 1 - self.start)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `<start>-<end>`, decimal.

        Raises:
            InvalidChunk: for anything else.
        """
        start, dash, end = text.partition("-")
        # isdecimal alone accepts digits of other scripts, int() underscores and signs: ask for ASCII digits.
        if not (dash and start.isascii() and start.isdecimal() and end.isascii() and end.isdecimal()):
            raise InvalidChunk(f"invalid chunk range {text[:60]!r}")
        if len(start) > 19 or len(end) > 19:
            raise InvalidChunk(f"invalid chunk range {text[:60]!r}: number too large")
        return cls(int(start), int(end))

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"


class ChunkList:
    """All chunks of one blob in order: contiguous, from 0 to size-1, no overlap, no gap; and their digests.

    Three kinds:
        complete    every digest came with the list (`from_pairs`, `parse`, `single`).  Its identity covers them: two
                    lists with the same chunks and other digests are different lists.
        evidenced   the digest of a chunk becomes known when its bytes are accepted for the first time, because
                    Evidence proved them (`evidenced`).  The digests are kept in `slots`, outside of the identity, which
                    covers the chunks and whose word the evidence is: what was accepted by one never counts for another.
        unlisted    nobody proves a chunk (`uniform`).  `slots` keep the digests of what has arrived, so that rot is
                    told from a lie, and after a restart as well; what is right only the whole blob's digest can say.

    Attributes:
        size: of the blob, in bytes.
        complete: every digest is known, and fixed.
        unlisted: no digest says that a chunk is right.
        slots: digests that became known one by one; empty of a complete list.
        voucher: whose word the evidence is; None for the other kinds, whose voucher says nothing of their identity.
        fingerprint: what `fusefs.values.chunkpack` made of the list, once it has: of 2^20 chunks it takes 25 ms.
    """

    __slots__ = ("_digests", "_held", "_starts", "complete", "fingerprint", "size", "slots", "unlisted", "voucher")

    def __init__(
        self,
        size: int,
        starts: Starts,
        digests: Buffer | None,
        *,
        mapped: bool = False,
        voucher: Voucher | None = None,
        slots: Slots | None = None,
    ) -> None:
        self.size = size
        self.fingerprint: bytes | None = None
        # Nearly every list has equal chunks, whose starts need no memory.
        self._starts = _equal(size, starts)
        self._digests = digests
        self.complete = digests is not None
        self.voucher = voucher
        self.unlisted = digests is None and voucher is None
        self.slots = slots or (_NO_SLOTS if self.complete else Slots())
        self._held = ListShare(LISTS)
        counted = 0 if isinstance(self._starts, range) else 8 * len(self._starts)
        self._held.grow(counted + (0 if mapped or digests is None else len(digests)))

    @classmethod
    def single(cls, blob: Blob) -> Self:
        """The blob is its own only chunk; without a digest when that of the blob is no sha256."""
        check_blob_size(blob.size)
        digests = blob.digest.raw if blob.digest.is_sha256 else None
        return cls(blob.size, array("Q", [0] if blob.size else []), digests if blob.size else b"")

    @classmethod
    def uniform(cls, size: int, chunk_size: int) -> Self:
        """Equal chunks of `chunk_size` bytes, the last one shorter, with no digests: an unlisted list."""
        return cls(size, _grid(size, chunk_size), None)

    @classmethod
    def evidenced(cls, size: int, chunk_size: int, voucher: Voucher) -> Self:
        """The same for a blob whose chunks are accepted by evidence, which is the word of `voucher`."""
        return cls(size, _grid(size, chunk_size), None, voucher=voucher)

    @classmethod
    def from_pairs(cls, size: int, pairs: Iterable[tuple[Digest, Chunk]]) -> Self:
        """Make a list of `size` bytes from chunks in any order.

        Raises:
            InvalidChunkList: a gap, an overlap, a wrong end, too many or too large chunks.
        """
        with ChunkListBuilder(size) as builder:
            for digest, chunk in pairs:
                builder.add(digest, chunk.start, chunk.end)
            return cls(size, *builder.packed())

    @classmethod
    def parse(cls, size: int, text: bytes | Iterable[bytes]) -> Self:
        """Read chunksums text, whole or in pieces, with memory bounded by `MAX_CHUNKS` whatever comes.

        Raises:
            InvalidDigest, InvalidChunk, InvalidChunkList: with the reason.
        """
        limit = LONGEST_LINE * (most_chunks(size) + 256)
        digest: Digest | None = None  # whose range has not come yet
        with ChunkListBuilder(size) as builder:
            for words in words_of([text] if isinstance(text, bytes) else text, limit):
                if digest is not None and words:
                    chunk = Chunk.parse(text_of(words.pop(0)))
                    builder.add(digest, chunk.start, chunk.end)
                    digest = None
                even = len(words) & ~1
                taken = even if builder.add_words(words[:even]) else 0
                for word, span in zip(words[taken:even:2], words[taken + 1 : even : 2], strict=True):
                    parsed, chunk = Digest.parse(text_of(word)), Chunk.parse(text_of(span))
                    builder.add(parsed, chunk.start, chunk.end)
                if even < len(words):
                    digest = Digest.parse(text_of(words[even]))
            if digest is not None:
                raise InvalidChunk("missing chunk range after the last digest")
            return cls(size, *builder.packed())

    def with_digests(self, digests: bytes) -> ChunkList:
        """The same chunks with their digests, 32 bytes each in order (computed by whoever proved the blob)."""
        if len(digests) != 32 * len(self):
            raise InvalidChunkList(f"{len(digests)} bytes of digests for {len(self)} chunks")
        return ChunkList(self.size, self._starts, digests)

    def with_slots(self, slots: Slots) -> ChunkList:
        """The same chunks, whose digests become known in `slots`; not of a complete list."""
        made = ChunkList(self.size, self._starts, None, voucher=self.voucher, slots=slots)
        made.fingerprint = self.fingerprint
        return made

    @classmethod
    def from_packed(
        cls,
        size: int,
        starts: Starts,
        digests: Buffer | None,
        *,
        mapped: bool = False,
        voucher: Voucher | None = None,
    ) -> Self:
        """The inverse of `packed`; `mapped` digests take no memory of ours.

        Raises:
            InvalidChunkList: starts do not rise from 0, lie behind the end or too far apart, or do not go with the
                digests.
        """
        check_blob_size(size)
        if digests is not None and len(starts) > most_chunks(size):
            raise ChunkListTooFine(f"{len(starts)} chunks for {size} bytes")
        rising = all(map(lt, starts, starts[1:]))
        if (starts[0] if starts else size) != 0 or not rising or (starts and starts[-1] >= size):
            raise InvalidChunkList("chunk starts do not rise from 0 to the end of the blob")
        if size > MAX_CHUNK_SIZE and max(map(sub, chain(starts[1:], (size,)), starts)) > MAX_CHUNK_SIZE:
            raise InvalidChunkList(f"a chunk is larger than {MAX_CHUNK_SIZE} bytes")
        if digests is not None and len(digests) != 32 * len(starts):
            raise InvalidChunkList(f"{len(digests)} bytes of digests for {len(starts)} chunks")
        return cls(size, starts, digests, mapped=mapped, voucher=voucher)

    def packed(self) -> tuple[array[int], Buffer | None]:
        """The starts (8 bytes each) and the digests of a complete list (32 bytes each), in order of offset."""
        starts = self._starts
        return (starts if isinstance(starts, array) else array("Q", starts)), self._digests

    @property
    def starts(self) -> Starts:
        """Where each chunk begins, in order."""
        return self._starts

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Chunk:
        starts = self._starts
        # Without another look at what was checked when the list was made: of each chunk this is asked many times.
        chunk = _new(Chunk)
        start, stop = starts[index], starts[index + 1] if index + 1 < len(starts) else self.size
        _set(chunk, "start", start)
        _set(chunk, "end", stop - 1)
        _set(chunk, "stop", stop)
        _set(chunk, "size", stop - start)
        return chunk

    def __iter__(self) -> Iterator[Chunk]:
        return (self[i] for i in range(len(self)))

    def extent(self, indices: range) -> range:
        """Offsets of all bytes of neighbouring chunks, at least one, for the hot path."""
        stop = indices.stop
        return range(self._starts[indices.start], self._starts[stop] if stop < len(self._starts) else self.size)

    def size_of(self, index: int) -> int:
        """Length of chunk `index` in bytes, for the hot path."""
        starts = self._starts
        return (starts[index + 1] if index + 1 < len(starts) else self.size) - starts[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChunkList):
            return NotImplemented
        if self.fingerprint is not None and other.fingerprint is not None:
            return self.fingerprint == other.fingerprint
        ours = (self.size, self._starts, self._digests, self.voucher)
        return ours == (other.size, other._starts, other._digests, other.voucher)

    __hash__ = None  # type: ignore[assignment]  # large and compared by content

    def digest(self, index: int) -> Digest:
        """The digest of chunk `index`; only of a complete list."""
        return Digest.from_raw(self.raw_digest(index))

    def raw_digest(self, index: int) -> bytes:
        """The same as 32 bytes, for the hot path."""
        assert self._digests is not None
        return bytes(self._digests[32 * index : 32 * index + 32])

    def known(self, index: int) -> bytes | None:
        """The digest of chunk `index` as 32 bytes, as far as it is known by now.  Blocking, but short."""
        if self._digests is None:
            return self.slots.get(index)
        return bytes(self._digests[32 * index : 32 * index + 32])

    def covering(self, off: int, size: int) -> range:
        """Indices of the chunks that hold bytes [off, off+size), clipped to the blob."""
        stop = min(off + size, self.size)
        if off < 0 or off >= stop:
            return range(0)
        first = bisect_right(self._starts, off) - 1
        return range(first, bisect_right(self._starts, stop - 1, lo=first))

    def index_of(self, chunk: Chunk) -> int:
        """The index of exactly `chunk`.

        Raises:
            InvalidChunk: the list has no such chunk.
        """
        index = bisect_right(self._starts, chunk.start) - 1
        if index < 0 or self[index] != chunk:
            raise InvalidChunk(f"no chunk {chunk} in the chunk list")
        return index

    def format(self) -> Iterator[str]:
        """The chunksums text of a complete list, a line at a time, newline included."""
        assert self._digests is not None
        # Not by way of a Digest and a Chunk each: of 2^20 lines that takes seconds.
        for first in range(0, len(self), _FORMATTED):
            starts = [*self._starts[first : first + _FORMATTED + 1], self.size]
            hexes = bytes(self._digests[32 * first : 32 * (first + _FORMATTED)]).hex()
            for i in range(len(hexes) // 64):
                yield f"sha256:{hexes[64 * i : 64 * i + 64]} {starts[i]}-{starts[i + 1] - 1}\n"


def _grid(size: int, chunk_size: int) -> range:
    """Starts of equal chunks."""
    check_blob_size(size)
    if chunk_size < 1 or -(-size // chunk_size) > MAX_CHUNKS:
        raise InvalidChunkList(f"{size} bytes do not go into chunks of {chunk_size}")
    return range(0, size, chunk_size)


def _equal(size: int, starts: Starts) -> Starts:
    """The starts as a range, when all chunks but the last are equal."""
    if isinstance(starts, range):
        return starts
    equal = range(0, size, starts[1] if len(starts) > 1 else max(1, size))
    return equal if len(equal) == len(starts) and all(map(eq, equal, starts)) else starts
