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
from operator import eq, le, lt, sub
from typing import TYPE_CHECKING, Self, TypeVar

from fusefs.errors import ChunkListTooFine, InvalidChunk, InvalidChunkList
from fusefs.values.chunksums import LONGEST_LINE, bounds_of, digests_of, text_of, words_of
from fusefs.values.digest import Digest
from fusefs.values.listmemory import LISTS, ListShare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Starts = array[int] | range
    """Offsets of chunks, in order."""

    Buffer = bytes | bytearray | memoryview
    """Bytes of ours, or of a mapped file."""

MAX_CHUNKS = 1 << 21
"""No honest list is longer: 2 TiB in 1 MiB chunks, 84 MiB packed."""

FINE_CHUNKS = 4096
"""So many chunks may have any size; each costs a lock, a hash and some 100 µs of the event loop when it is fetched."""

FINE_CHUNK_SIZE = 64 << 10
"""Bytes of an honest chunk at least, on the average of a longer list: hashing and fetching so many takes about as long
as keeping account of one chunk, and what the kernel asks for at a time (128 KiB to 1 MiB) has a handful of them.
Ollama's chunks have 64 MiB and more, ours 1 to 8 MiB, desync's and the Hub's (xet) 64 KiB."""

MAX_CHUNK_SIZE = 4 << 30
"""No honest chunk is larger: one chunk is fetched and hashed as a whole before a byte of it is served."""

MAX_BLOB_SIZE = 1 << 44
"""16 TiB, the largest file ext4 holds."""

_BYTES_A_CHUNK = 48
"""Start, end and digest, while a list is read."""

L = TypeVar("L", bound="ChunkList")


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
    """All chunks of one blob in order: contiguous, from 0 to size-1, no overlap, no gap.

    Made by `from_pairs`, `parse`, `single` or `uniform`.  A list made by `uniform` has no digests yet
    (`proved` is False): its chunks can be fetched one by one, but not verified one by one.

    Attributes:
        size: of the blob, in bytes.
        proved: every chunk has a digest of its own.
        fingerprint: what `fusefs.values.chunkpack` made of the list, once it has: of 2^20 chunks it takes 25 ms.
    """

    __slots__ = ("_digests", "_held", "_starts", "fingerprint", "proved", "size")

    def __init__(self, size: int, starts: Starts, digests: Buffer | None, *, mapped: bool = False) -> None:
        self.size = size
        self.fingerprint: bytes | None = None
        # Nearly every list has equal chunks, whose starts need no memory.
        self._starts = _equal(size, starts)
        self._digests = digests
        self.proved = digests is not None
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
        """Equal chunks of `chunk_size` bytes, the last one shorter, with no digests."""
        check_blob_size(size)
        if chunk_size < 1 or -(-size // chunk_size) > MAX_CHUNKS:
            raise InvalidChunkList(f"{size} bytes do not go into chunks of {chunk_size}")
        return cls(size, range(0, size, chunk_size), None)

    @classmethod
    def from_pairs(cls, size: int, pairs: Iterable[tuple[Digest, Chunk]]) -> Self:
        """Make a list of `size` bytes from chunks in any order.

        Raises:
            InvalidChunkList: a gap, an overlap, a wrong end, too many or too large chunks.
        """
        builder = ChunkListBuilder(size)
        for digest, chunk in pairs:
            builder.add(digest, chunk)
        return builder.made(cls)

    @classmethod
    def parse(cls, size: int, text: bytes | Iterable[bytes]) -> Self:
        """Read chunksums text, whole or in pieces, with memory bounded by `MAX_CHUNKS` whatever comes.

        Raises:
            InvalidDigest, InvalidChunk, InvalidChunkList: with the reason.
        """
        builder = ChunkListBuilder(size)
        limit = LONGEST_LINE * (most_chunks(size) + 256)
        digest: Digest | None = None  # whose range has not come yet
        for words in words_of([text] if isinstance(text, bytes) else text, limit):
            if digest is not None and words:
                builder.add(digest, Chunk.parse(text_of(words.pop(0))))
                digest = None
            even = len(words) & ~1
            taken = even if builder.add_words(words[:even]) else 0
            for word, span in zip(words[taken:even:2], words[taken + 1 : even : 2], strict=True):
                builder.add(Digest.parse(text_of(word)), Chunk.parse(text_of(span)))
            if even < len(words):
                digest = Digest.parse(text_of(words[even]))
        if digest is not None:
            raise InvalidChunk("missing chunk range after the last digest")
        return builder.made(cls)

    def with_digests(self, digests: bytes) -> ChunkList:
        """The same chunks with their digests, 32 bytes each in order (computed by whoever proved the blob)."""
        if len(digests) != 32 * len(self):
            raise InvalidChunkList(f"{len(digests)} bytes of digests for {len(self)} chunks")
        return ChunkList(self.size, self._starts, digests)

    @classmethod
    def from_packed(cls, size: int, starts: Starts, digests: Buffer | None, *, mapped: bool = False) -> Self:
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
        return cls(size, starts, digests, mapped=mapped)

    def packed(self) -> tuple[array[int], Buffer | None]:
        """The starts (8 bytes each) and the digests (32 bytes each, None without), in order of offset."""
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
        return (self.size, self._starts, self._digests) == (other.size, other._starts, other._digests)

    __hash__ = None  # type: ignore[assignment]  # large and compared by content

    def digest(self, index: int) -> Digest:
        """The digest of chunk `index`; only for a proved list."""
        assert self._digests is not None
        return Digest.from_raw(self.raw_digest(index))

    def raw_digest(self, index: int) -> bytes:
        """The same as 32 bytes, for the hot path."""
        assert self._digests is not None
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
        """The chunksums text, a line at a time, newline included."""
        return (f"{self.digest(i)} {self[i]}\n" for i in range(len(self)))


class ChunkListBuilder:
    """Collects chunks in any order, bounded, and checks that together they are one blob."""

    def __init__(self, size: int) -> None:
        check_blob_size(size)
        self._size = size
        self._starts = array("Q")
        self._ends = array("Q")
        self._digests = bytearray()
        self._most = most_chunks(size)
        self._held = ListShare(LISTS)

    def add(self, digest: Digest, chunk: Chunk) -> None:
        """Take one more chunk.

        Raises:
            InvalidChunkList: too many, too large, or behind the end of the blob.
        """
        if chunk.end >= self._size:
            raise InvalidChunkList(f"chunk {chunk} lies behind the end of the blob ({self._size} bytes)")
        if chunk.size > MAX_CHUNK_SIZE:
            raise InvalidChunkList(f"chunk {chunk} is larger than {MAX_CHUNK_SIZE} bytes")
        if len(self._starts) >= self._most:
            raise ChunkListTooFine(f"more than {len(self._starts)} chunks for {self._size} bytes")
        self._count(1)
        self._starts.append(chunk.start)
        self._ends.append(chunk.end)
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
        self._count(len(starts))
        self._starts += starts
        self._ends += ends
        self._digests += digests
        return True

    def _count(self, more: int) -> None:
        if not len(self._starts) % 256 or more > 1:
            self._held.grow(_BYTES_A_CHUNK * (len(self._starts) + more))

    def made(self, kind: type[L]) -> L:
        """The list, which takes over what was counted for it; InvalidChunkList as `packed`."""
        starts, digests = self.packed()
        self._held.grow(0)
        return kind(self._size, starts, digests)

    def packed(self) -> tuple[array[int], Buffer]:
        """Starts and digests in order of offset.

        Raises:
            InvalidChunkList: a gap, an overlap or a wrong end.
        """
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


def most_chunks(size: int) -> int:
    """How many chunks the list of a blob of `size` bytes may have."""
    return min(MAX_CHUNKS, size, FINE_CHUNKS + size // FINE_CHUNK_SIZE)


def _equal(size: int, starts: Starts) -> Starts:
    """The starts as a range, when all chunks but the last are equal."""
    if isinstance(starts, range):
        return starts
    equal = range(0, size, starts[1] if len(starts) > 1 else max(1, size))
    return equal if len(equal) == len(starts) and all(map(eq, equal, starts)) else starts


def check_blob_size(size: int) -> None:
    """Refuse sizes that no blob can have, by InvalidChunkList."""
    if not 0 <= size <= MAX_BLOB_SIZE:
        raise InvalidChunkList(f"a blob cannot have {size} bytes")
