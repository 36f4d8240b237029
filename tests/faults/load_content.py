"""Content: the bytes of a model that are known by their offset, so that nothing large is kept or sent to compare with.

A few mebibytes of seeded noise, repeated, from another place on for each model.  The period is odd, so no two pages of
a model are alike, nor two pages of two models at the same offset: bytes of a wrong place are wrong bytes.
"""

from __future__ import annotations

import functools
import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
_PERIOD = 8 * MIB + 9
_SHIFT = 100_003
PIECE = 4 * MIB
"""Bytes that are made at a time at most."""


@functools.cache
def _noise() -> bytes:
    noise = random.Random(6).randbytes(_PERIOD)
    return noise + noise[:PIECE]


@dataclass(frozen=True)
class Content:
    """What is in the file of model `number`.

    Attributes:
        number: which model; each has other bytes.
        size: in bytes.
        chunk_size: in bytes, of its chunk list.
    """

    number: int
    size: int
    chunk_size: int = MIB

    @property
    def name(self) -> str:
        """Of the model, and of its one file's folder when several are mounted."""
        return f"m{self.number:02}"

    def part(self, off: int, size: int) -> bytes:
        """At most PIECE bytes; fewer at the end of the file."""
        start = (off + self.number * _SHIFT) % _PERIOD
        return _noise()[start : start + min(size, PIECE, max(0, self.size - off))]

    def parts(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` to `stop`, in pieces."""
        for off in range(start, stop, PIECE):
            yield self.part(off, min(PIECE, stop - off))

    @functools.cached_property
    def blob(self) -> Blob:
        """Its digest and size."""
        return Blob(self._digest(0, self.size), self.size)

    @functools.cached_property
    def chunk_list(self) -> bytes:
        """Its chunk list as a registry sends it."""
        chunks = ChunkList.uniform(self.size, self.chunk_size)
        return "".join(f"{self._digest(chunk.start, chunk.stop)} {chunk}\n" for chunk in chunks).encode()

    def _digest(self, start: int, stop: int) -> Digest:
        found = hashlib.sha256()
        for piece in self.parts(start, stop):
            found.update(piece)
        return Digest.parse(f"sha256:{found.hexdigest()}")
