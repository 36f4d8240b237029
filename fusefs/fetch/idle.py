"""IdleBlobs: the blobs that are open, and which of them give their descriptors back.

A blob that is open keeps three to five: the map, its mapping, the data, and perhaps one for direct writes and one for
the slots of its list.  What nobody uses is closed, least recently used first, when more than a part of what the process
may have is open, and all of it when there are none left.  The next read opens it again, as the first one did.

Nobody uses a blob that has no flight, no reader that waits, no task or thread at work on it (`Use`), and no
chunk in memory that the disk would not take.  A file that a program has open counts as used, too, until there is no
other way: only opening it again is lost, not what was read.

How a blob is closed: on the event loop, where everybody who uses one comes from, it is taken out of its `BlobFetch`
with no await since the look that found it idle.  Then a thread closes it, while no room is being made in the cache,
which is the only thing that touches blobs of others (`Quota.standing_still`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

import trio

from fusefs.errors import CacheError, FusefsError
from fusefs.system import descriptors
from fusefs.system.locks import LockHeld

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.space.quota import Quota
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.threads import CacheThreads

T = TypeVar("T")

_EACH = 5
"""Descriptors of an open blob at most: the map, a second one that Python's mapping of it keeps, data, one for direct
writes until it is sealed, and one for the slots of its list or for the mapping of a long one."""

_IDLE, _ALL = 4, 2
"""Blobs that nobody uses may have this part of the descriptors, and all that are open this part: the rest is for
connections, each of which takes two, and for files that are open for a moment."""

_MOST_IDLE = 4096
"""More are not kept open even where there is no limit: each takes a mapping and a few kilobytes."""

_LOOK = (0.02, 0.5)
"""Seconds between two tries of what had no descriptor: at first, and at most."""

_TO_SPARE = 8
"""This part of the idle ones goes beyond what has to: looking for them costs more than closing one."""


_DEAR = 8 << 20
"""Bytes to read back that are worth keeping a blob open for, as long as there are others to close."""


class IdleBlobs:
    """Of one fetcher; lives on the event loop.

    Attributes:
        most_idle: blobs that stay open although nobody uses them.
        most: blobs that are open at once.
    """

    def __init__(self, threads: CacheThreads, quota: Quota, timeout: float) -> None:
        limit = descriptors.limit()
        self.most_idle = max(2, min(_MOST_IDLE, limit // _IDLE // _EACH))
        self.most = max(4, limit // _ALL // _EACH)
        self._threads = threads
        self._quota = quota
        self._timeout = timeout
        self._open: dict[BlobFetch, None] = {}
        self._closing: deque[Chunker] = deque()
        self._seen = descriptors.Shortages.seen

    def __len__(self) -> int:
        """Blobs that are open."""
        return len(self._open)

    def opened(self, fetch: BlobFetch) -> None:
        """A blob has been opened, just now."""
        self._open.pop(fetch, None)
        self._open[fetch] = None

    async def look(self) -> None:
        """Give back what is too much; everything idle, when somebody has met a shortage since the last look."""
        seen, self._seen = self._seen, descriptors.Shortages.seen
        if self._seen != seen:
            await self._give_back(0)
        elif len(self._open) > self.most_idle:
            await self._give_back(self.most_idle, handles=False)

    async def make_room(self) -> None:
        """One more blob is about to be opened: close others for it, or wait until one can be.

        Raises:
            CacheError: as many as may be open are in use, for `--timeout` seconds.
        """
        if len(self._open) >= self.most_idle:
            await self._give_back(self.most_idle - 1, handles=False)
        deadline = trio.current_time() + self._timeout
        pause, longest = _LOOK
        while len(self._open) >= self.most:
            await self._give_back(self.most - 1)
            if len(self._open) < self.most:
                return
            if trio.current_time() >= deadline:
                raise CacheError(
                    f"{len(self._open)} files are in use at once, and this process may open no more; raise its limit "
                    "of open files (ulimit -n, LimitNOFILE=)"
                )
            await trio.sleep(pause)
            pause = min(2 * pause, longest)

    async def patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work`, and again while descriptors have run out or another process holds a lock; `--timeout` at most.

        Raises:
            FusefsError: that of `work`.
        """
        deadline = trio.current_time() + self._timeout
        pause, longest = _LOOK
        while True:
            try:
                return await work()
            except FusefsError as exc:
                short = descriptors.ran_out(exc)
                if not (short or _is_held(exc)) or trio.current_time() >= deadline:
                    raise
            if short:
                await self._give_back(0)
            await trio.sleep(pause)
            pause = min(2 * pause, longest)

    async def _give_back(self, left: int, *, handles: bool = True) -> None:
        """Close idle blobs until `left` are open; those with open handles only where `handles` says so."""
        for fetch in self._open:
            if fetch.retired and is_idle(fetch):
                self._closing.extend(fetch.retired)
                fetch.retired.clear()
        idle = [fetch for fetch in self._open if is_idle(fetch) and (handles or not fetch.use.handles)]
        excess = len(self._open) - left
        if excess > 0 and idle:
            idle.sort(key=_dearness)
            for fetch in idle[: excess + left // _TO_SPARE]:
                # No await since `is_idle` was asked: nobody can have come but a thread that answers the kernel.
                chunker = fetch.detach()
                if chunker is not None:
                    del self._open[fetch]
                    self._closing.append(chunker)
        if self._closing:
            await self._threads.run(self.close_detached)

    def close_detached(self) -> None:
        """Close what was taken away from its blob, and not closed yet.  Blocking, but short."""
        while True:
            with self._quota.standing_still():
                try:
                    chunker = self._closing.popleft()
                except IndexError:
                    return
                chunker.close()


def is_idle(fetch: BlobFetch) -> bool:
    """Whether a blob is open, and nobody needs it to be."""
    chunker = fetch.chunker
    if chunker is None or fetch.use or fetch.flights or fetch.readers:
        return False
    return not (chunker.spills and chunker.memory.spill.has_any_of(chunker))


def _dearness(fetch: BlobFetch) -> tuple[bool, bool, int]:
    """What closing a blob costs; the cheapest goes first, and of the same the least recently used."""
    chunker = fetch.chunker
    if chunker is None:
        return False, False, 0
    # What the running hash has must be read back, but for a sealed blob, which needs it no more.
    hashed = 0 if chunker.sealed else chunker.prefix.index
    dear = hashed > 0 and chunker.chunks[hashed - 1].stop > _DEAR
    return fetch.use.handles > 0, dear, chunker.usage.latest


def _is_held(exc: FusefsError) -> bool:
    """Whether another process had one of the blob's locks for longer than we waited."""
    return isinstance(exc.__cause__, LockHeld)
