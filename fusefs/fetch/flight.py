"""Flight: one chunk on its way, and everybody who waits for it (single flight within the process)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.values.digest import Digest


class Priority(enum.IntEnum):
    """Who goes first: lower is sooner."""

    DEMAND = 0
    READ_AHEAD = 1
    FILL = 2


class Flight:
    """A chunk that is queued or being fetched.

    The chunk map is the truth and the flight only a hint: whoever wakes looks again.  A failure is told to those who
    wait now; the next one who wants the chunk makes a new flight.

    Attributes:
        fetch: the blob it belongs to.
        host: whom it will be asked of; whose silence it may suffer from.
        chunker: what it is written to; a blob whose list lied gets another one.
        index: the chunk.
        priority: of the most urgent one who wants it.
        started: a worker has it; it cannot be promoted any more.
        error: why it failed.
    """

    __slots__ = ("_done", "chunker", "error", "fetch", "host", "index", "priority", "started")

    def __init__(self, fetch: BlobFetch, chunker: Chunker, index: int, priority: Priority) -> None:
        self.fetch = fetch
        self.host = fetch.host
        self.chunker = chunker
        self.index = index
        self.priority = priority
        self.started = False
        self.error: BaseException | None = None
        self._done = trio.Event()

    @property
    def blob(self) -> Digest:
        """Which blob it is of."""
        return self.fetch.blob.digest

    def land(self, error: BaseException | None = None) -> None:
        """Wake everybody: the chunk is here, or `error` says why it is not."""
        self.error = error
        self._done.set()

    @property
    def landed(self) -> bool:
        """True when nobody needs to wait any more."""
        return self._done.is_set()

    async def wait(self) -> None:
        """Wait until the chunk is here.

        Raises:
            FusefsError: a new one for each who waits, from the one that happened.
        """
        await self._done.wait()
        if self.error is not None:
            raise again(self.error)


def again(error: BaseException) -> BaseException:
    """A copy of `error`, caused by it: one exception raised in two tasks would grow a traceback of both."""
    fresh = error.__class__.__new__(error.__class__)
    fresh.args = error.args
    fresh.__dict__.update(error.__dict__)
    fresh.__cause__ = error
    return fresh
