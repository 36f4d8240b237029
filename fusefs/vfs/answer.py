"""Answered: what became of a read that a thread tried to answer with what is here now."""

from __future__ import annotations

import enum
from collections.abc import Callable

from fusefs.errors import BlobQuarantined, UnexpectedEnd

Data = bytes | bytearray | memoryview
"""Bytes of an answer."""

Send = Callable[[Data], None]
"""Takes the bytes of an answer, which are good until it returns."""


class Answered(enum.Enum):
    """What became of it."""

    SENT = enum.auto()
    """The bytes were here, and are on their way to the reader."""

    ABSENT = enum.auto()
    """They have to arrive first."""

    ELSEWHERE = enum.auto()
    """The event loop has to answer: the disk would be waited for, or there is something to be said."""


def check_version(now: int, then: int) -> None:
    """Compare how many lists of a blob have been found wrong with how many it was when the file was opened.

    Bytes that are right now do not go with wrong ones that the same open file may have given before (P2).

    Raises:
        BlobQuarantined: they do not.
    """
    if now != then:
        raise BlobQuarantined("it was open when its chunk list was found to be wrong; open it again")


def check_whole(data: bytes | bytearray | memoryview, off: int, size: int) -> None:
    """Refuse an answer that is short: the kernel would fill it up with zeros (P2).

    Raises:
        UnexpectedEnd: it is.
    """
    if len(data) != size:
        raise UnexpectedEnd(f"{size} bytes were asked for at {off}, {len(data)} came")
