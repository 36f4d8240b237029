"""Reads: those that programs wait for now, so that one that takes too long can be told of."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(eq=False, slots=True)
class PendingRead:
    """One read that is not answered yet.

    Attributes:
        path: below the mount point.
        off: first byte.
        size: in bytes.
        since: on trio's clock, in seconds.
        told: somebody was told that it takes too long.
    """

    path: str
    off: int
    size: int
    since: float
    told: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.size} bytes at {self.off}"


class Reads:
    """The reads of one mount that are not answered yet, oldest first.  Lives on the event loop."""

    def __init__(self) -> None:
        self._open: dict[PendingRead, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[PendingRead]:
        return iter(list(self._open))

    @contextlib.contextmanager
    def going_on(self, path: str, off: int, size: int) -> Iterator[None]:
        """While this lasts, somebody waits for these bytes."""
        read = PendingRead(path, off, size, trio.current_time())
        self._open[read] = None
        try:
            yield
        finally:
            del self._open[read]

    def older_than(self, seconds: float) -> list[PendingRead]:
        """Those that have waited for longer than that."""
        began = trio.current_time() - seconds
        return [read for read in self._open if read.since < began]
