"""Read: one read of a blob, as the policies are shown it.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusefs.prefetch.streams import Stream


@dataclass(frozen=True, slots=True)
class Read:
    """Somebody asks for [off, off+size), which lies in the blob.

    Attributes:
        off: offset in bytes.
        size: length in bytes.
        stream: the reader that it belongs to, this read included.  Policies look at it; `Streams` alone changes it.
        most: bytes to have on their way for one reader at most.
        tight: the disk is full: what is fetched may have to leave again before it is read, so a small window only.
    """

    off: int
    size: int
    stream: Stream
    most: int
    tight: bool = False
