"""Reconstruction: which chunks of which xorbs make up a range of a file, and which requests get them.

Read from the answer to `/v2/reconstructions/HASH`, or to the older `/v1/reconstructions/HASH`.  Nothing in it is a
proof: it only says where bytes are.
Source: Xet Protocol Specification 1.1, download-protocol.md and api.md.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated

import msgspec

from fusefs.errors import InvalidXet
from fusefs.values.chunks import Chunk
from fusefs.xet.casanswer import Offset, Size, read_answer
from fusefs.xet.xethash import parse_hash
from fusefs.xet.xorb import HEADER_SIZE, MAX_CHUNK, MAX_PACKED, MAX_XORB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_RECONSTRUCTION = 16 << 20
"""Bytes of an answer.  A request for 64 MiB of a file has one of a few KiB; one for a whole file that shares much with
others may have more than this, so ask for ranges."""

_MAX_OBJECTS = 1 << 18

_MAX_URL = 16 << 10
"""Characters of a URL; the server splits its ranges over several URLs at 8 KiB."""


class _Chunks(msgspec.Struct, frozen=True):
    start: Offset
    end: Offset
    """Behind the last."""


class _Bytes(msgspec.Struct, frozen=True):
    start: Offset
    end: Offset
    """The last."""


class _Term(msgspec.Struct, frozen=True):
    hash: str
    range: _Chunks
    unpacked_length: Size


_Address = Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_URL)]


class _Range(msgspec.Struct, frozen=True):
    chunks: _Chunks
    bytes: _Bytes


class _Url(msgspec.Struct, frozen=True):
    """One URL of version 2."""

    url: _Address
    ranges: list[_Range]


class _Fetch(msgspec.Struct, frozen=True):
    """One URL of version 1."""

    range: _Chunks
    url: _Address
    url_range: _Bytes


class _Answer(msgspec.Struct, frozen=True):
    offset_into_first_range: Offset
    terms: list[_Term]
    xorbs: dict[str, list[_Url]] | None = None
    fetch_info: dict[str, list[_Fetch]] | None = None


_decoder = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class XorbRange:
    """Adjacent chunks of a xorb, which one request gets.

    Attributes:
        xorb: its hash, 32 bytes.
        first: index of the first chunk.
        stop: index behind the last one.
        part: the bytes of the xorb to ask for, exactly: the URL is signed for them.  They hold these chunks.
        url: where; unchecked text, and a secret, because whoever has it may read.
    """

    xorb: bytes
    first: int
    stop: int
    part: Chunk
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Term:
    """Adjacent chunks of a xorb that follow each other in the file, too.

    Attributes:
        fetch: the range that has them, and perhaps more; terms that share a range share the object.
        first: index of the first chunk in the xorb.
        stop: index behind the last one.
        size: bytes of the chunks when they are unpacked, as the server says.
    """

    fetch: XorbRange
    first: int
    stop: int
    size: int


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Of a range of a file.

    Attributes:
        skip: bytes of the first term that lie in front of the range; it may be several chunks, never the whole term.
        terms: in the order of the file, at least one; none behind the range.
    """

    skip: int
    terms: tuple[Term, ...]

    @classmethod
    def parse(cls, raw: bytes, wanted: int) -> Reconstruction:
        """Read an answer of either version.

        Args:
            raw: the answer.
            wanted: bytes of the range that was asked for.

        Raises:
            InvalidXet: no such answer, of less than was wanted, with a term that no range has, or with lengths that no
                chunks have.
        """
        answer = read_answer(raw, _decoder, most=MAX_RECONSTRUCTION, objects=_MAX_OBJECTS)
        if (answer.xorbs is None) == (answer.fetch_info is None):
            raise InvalidXet("a reconstruction has either xorbs or fetch_info")
        ranges = _ranges(answer)
        terms: list[Term] = []
        have = -answer.offset_into_first_range
        for term in answer.terms:
            terms.append(_term(term, ranges))
            have += term.unpacked_length
            if have <= 0:
                raise InvalidXet("a reconstruction whose range begins behind its first term")
            if have >= wanted:  # terms behind it may come, and are not needed
                return cls(answer.offset_into_first_range, tuple(terms))
        raise InvalidXet(f"a reconstruction of {max(have, 0)} bytes instead of {wanted}")


class _Ranges:
    """Those of one xorb, to be found by the chunks that they have."""

    def __init__(self, ranges: Iterable[XorbRange]) -> None:
        ordered = sorted(ranges, key=lambda one: one.first)
        self._firsts = [one.first for one in ordered]
        # Of each range and those in front of it the one that goes furthest: a list of ranges for a list of terms would
        # otherwise be looked through once for each term.
        self._furthest = list(accumulate(ordered, _further))

    def holding(self, first: int, stop: int) -> XorbRange | None:
        """A range that has these chunks."""
        index = bisect_right(self._firsts, first) - 1
        return self._furthest[index] if index >= 0 and stop <= self._furthest[index].stop else None


def _further(one: XorbRange, other: XorbRange) -> XorbRange:
    return other if other.stop > one.stop else one


def _ranges(answer: _Answer) -> Mapping[bytes, _Ranges]:
    """What can be asked for of each xorb."""
    found: dict[bytes, _Ranges] = {}
    for text, urls in (answer.xorbs or {}).items():
        xorb = parse_hash(text)
        found[xorb] = _Ranges(_range(xorb, one.chunks, one.bytes, url.url) for url in urls for one in url.ranges)
    for text, fetches in (answer.fetch_info or {}).items():
        xorb = parse_hash(text)
        found[xorb] = _Ranges(_range(xorb, one.range, one.url_range, one.url) for one in fetches)
    return found


def _range(xorb: bytes, chunks: _Chunks, part: _Bytes, url: str) -> XorbRange:
    count, size = chunks.end - chunks.start, part.end - part.start + 1
    if not count * (HEADER_SIZE + 1) <= size <= count * (HEADER_SIZE + MAX_PACKED) or part.end >= MAX_XORB:
        raise InvalidXet(f"a xorb cannot have {count} chunks in its bytes {part.start}-{part.end}")
    return XorbRange(xorb, chunks.start, chunks.end, Chunk(part.start, part.end), url)


def _term(term: _Term, ranges: Mapping[bytes, _Ranges]) -> Term:
    first, stop = term.range.start, term.range.end
    if not stop - first <= term.unpacked_length <= (stop - first) * MAX_CHUNK:
        raise InvalidXet(f"a term of {stop - first} chunks cannot have {term.unpacked_length} bytes")
    of_xorb = ranges.get(parse_hash(term.hash))
    fetch = of_xorb.holding(first, stop) if of_xorb is not None else None
    if fetch is None:
        raise InvalidXet(f"no URL for the chunks {first} to {stop - 1} of the xorb {term.hash}")
    return Term(fetch, first, stop, term.unpacked_length)
