"""The words of chunksums text, many at a time: a list of 2^20 chunks has 100 MB of it.

What is mostly there (`sha256:<64 hex> <start>-<end>`) is read by a few calls for hundreds of lines together.  Anything
else gives None and is for the parsers of single words, which know what is wrong with it: there is one set of rules.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import msgspec

from fusefs.errors import InvalidChunkList

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LONGEST_LINE = 256
"""Bytes; both words and their blanks: blanks without end would otherwise be read without end."""

_LONGEST_WORD = 128  # a digest has 71 characters, a range at most 39
_BLOCK = 1 << 16  # bytes taken apart at a time: as words they take several times their size
_ALGORITHM = b"sha256:"
_DIGEST_SIZE = len(_ALGORITHM) + 64
_COMMAS = bytes.maketrans(b"- ", b",,")
_numbers = msgspec.json.Decoder(list[int])


def words_of(pieces: Iterable[bytes], limit: int) -> Iterator[list[bytes]]:
    """Whitespace-separated words of a byte stream, some hundred at a time, with bounded memory; one may be too long.

    Raises:
        InvalidChunkList: more than `limit` bytes, or a word without end.
    """
    rest = b""
    for piece in filter(None, pieces):
        limit -= len(piece)
        if limit < 0:
            raise InvalidChunkList("not a chunk list: more text than its chunks can need")
        for off in range(0, len(piece), _BLOCK):
            block = rest + piece[off : off + _BLOCK]
            words = block.split()
            rest = words.pop() if words and not block[-1:].isspace() else b""
            yield words
            _check_word(rest)
    if rest:
        yield [rest]


def _check_word(word: bytes) -> None:
    if len(word) > _LONGEST_WORD:
        raise InvalidChunkList(f"not a chunk list: a word of {len(word)} bytes or more")


def text_of(word: bytes) -> str:
    """A word for the parsers of single words.

    Raises:
        InvalidChunkList: it is longer than any of them can be.
    """
    _check_word(word)
    return word.decode("ascii", "replace")


def digests_of(words: Sequence[bytes]) -> bytes | None:
    """The digests of `sha256:<64 hex>` words, 32 bytes each; None when one is anything else."""
    if not {_DIGEST_SIZE}.issuperset(map(len, words)):
        return None
    joined = b"".join(words)
    # All are of one length, so each character of all the prefixes lies at every 71st place.
    if any(joined[i::_DIGEST_SIZE] != _ALGORITHM[i : i + 1] * len(words) for i in range(len(_ALGORITHM))):
        return None
    try:
        raw = bytes.fromhex(joined.replace(_ALGORITHM, b"").decode("ascii"))
    except ValueError:
        return None
    return raw if len(raw) == 32 * len(words) else None  # a second prefix within a word was taken out, too


def bounds_of(words: Sequence[bytes]) -> tuple[array[int], array[int]] | None:
    """Starts and ends of `<start>-<end>` words, unchecked; None when one is anything else."""
    joined = b" ".join(words)
    # Without its digits each word is one dash, so that no number of one word is taken for that of another.
    if joined.translate(None, b"0123456789") != b" ".join([b"-"] * len(words)):
        return None
    try:
        numbers = _numbers.decode(b"[%b]" % joined.translate(_COMMAS))
        values = array("Q", numbers)
    except (msgspec.MsgspecError, OverflowError):
        return None  # no digits before or behind a dash, or too many, or zeros in front
    return values[::2], values[1::2]
