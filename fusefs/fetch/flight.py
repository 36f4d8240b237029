"""Flight: one chunk on its way, and everybody who waits for it (single flight within the process)."""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING

import trio

from fusefs.fetch.use import Use
from fusefs.sources.failover import Failover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.values.digest import Digest


class Priority(enum.IntEnum):
    """Who goes first: lower is sooner."""

    DEMAND = 0
    READ_AHEAD = 1
    FILL = 2


class BlobFlights(dict[int, "Flight"]):
    """The flights of one blob, by chunk, and where they go.

    Attributes:
        blob: which one.
        origins: where it can be had, best first; those whose list lied come out.
        host: whom it is asked of, for fairness among hosts: the same sources are one, mirrors included.
        use: who has something to do with its chunker.
        retired: chunkers whose list lied, for which no flight begins any more.
        completing: how many want all of the blob, and not only parts that somebody reads.
        forsaken: all of the blob was on its way for readers who are gone, and nobody else wants it.
    """

    def __init__(self, blob: Digest) -> None:
        super().__init__()
        self.blob = blob
        self.origins = Failover()
        self.host = ""
        self.use = Use()
        self.retired: list[Chunker] = []
        self.completing = 0
        self.forsaken = False

    @contextlib.contextmanager
    def wanted_entirely(self) -> Iterator[None]:
        """While this lasts, all of the blob is wanted."""
        self.completing += 1
        try:
            yield
        finally:
            self.completing -= 1

    def ask(self, origins: Failover) -> None:
        """From now on these are asked, in this order."""
        self.origins = origins
        self.host = origins.label


class Flight:
    """A chunk that is queued or being fetched.

    The chunk map is the truth and the flight only a hint: whoever wakes looks again.  A failure is told to those who
    wait now; the next one who wants the chunk makes a new flight.

    Attributes:
        of: the flights of its blob.
        blob: which blob that is.
        host: whom it will be asked of; whose silence it may suffer from.
        chunker: what it is written to; a blob whose list lied gets another one.
        index: the chunk.
        priority: of the most urgent one who wants it.
        readers: how many wait for it.
        foreseen: somebody wants it who does not wait, or not for it alone.
        started: a worker has it; it cannot be promoted any more.
        hand_over: lands what is over of its span, this one too; None as long as it is not.
        waiting: how many wait for just this one at this moment; who ends it hurries then.
        landed: nobody needs to wait any more.
        error: why it failed.
    """

    __slots__ = (
        "_done",
        "blob",
        "chunker",
        "error",
        "foreseen",
        "hand_over",
        "host",
        "index",
        "landed",
        "of",
        "priority",
        "readers",
        "started",
        "waiting",
    )

    def __init__(self, of: BlobFlights, chunker: Chunker, index: int, priority: Priority) -> None:
        self.of = of
        self.blob = of.blob
        self.host = of.host
        self.chunker = chunker
        self.index = index
        self.priority = priority
        self.readers = 0
        self.foreseen = priority != Priority.DEMAND
        self.started = False
        self.hand_over: Callable[[], None] | None = None
        self.waiting = 0
        self.landed = False
        self.error: BaseException | None = None
        self._done = trio.Event()

    @property
    def wanted(self) -> bool:
        """Whether anybody wants it still; a worker asks, too."""
        return self.readers > 0 or self.foreseen

    @property
    def entire(self) -> bool:
        """Whether all of the blob is wanted with it; a worker asks, too."""
        return self.of.completing > 0 or self.chunker.by_whole

    def land(self, error: BaseException | None = None) -> None:
        """Wake everybody: the chunk is here, or `error` says why it is not."""
        self.error = error
        self.landed = True
        self._done.set()

    async def wait(self) -> None:
        """Wait until the chunk is here.

        Raises:
            FusefsError: a new one for each who waits, from the one that happened.
        """
        self.waiting += 1
        try:
            # Looked at after we were counted: whose chunk was over before that saw nobody wait, and takes his time.
            if self.hand_over is not None:
                self.hand_over()
            await self._done.wait()
        finally:
            self.waiting -= 1
        if self.error is not None:
            raise again(self.error)


def again(error: BaseException) -> BaseException:
    """A copy of `error`, caused by it: one exception raised in two tasks would grow a traceback of both."""
    fresh = error.__class__.__new__(error.__class__)
    fresh.args = error.args
    fresh.__dict__.update(error.__dict__)
    fresh.__cause__ = error
    return fresh
