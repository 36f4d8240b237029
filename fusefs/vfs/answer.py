"""Answered: what became of a read that a thread tried to answer with what is here now."""

from __future__ import annotations

import enum
from collections.abc import Callable

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
