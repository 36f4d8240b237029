"""Backings: sealed files that are lent to a kernel, and the proof that a sealed blob of an earlier boot needs first."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import trio

from fusefs.errors import CacheError
from fusefs.fetch.flight import Priority
from fusefs.system import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.cache.blob.backing import Backing
    from fusefs.cache.disk import DiskCache
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.completion import Completion
    from fusefs.fetch.flights import Flights
    from fusefs.fetch.opener import Opener
    from fusefs.fetch.tasks import Tasks
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest

log = logging.getLogger(__name__)

PATIENCE = 0.5
"""Seconds that open(2) waits for the disk; then we answer the reads, which tells the reader more than a wait does."""

_SHARE = 8
"""Each takes two descriptors, and all of them may have this part of those that there are."""


class Lent:
    """The sealed file of one blob, in use until `close`; for the event loop."""

    def __init__(self, backing: Backing, closed: Callable[[Backing], None]) -> None:
        self.fd = backing.fd
        self._backing = backing
        self._closed = closed

    @property
    def right(self) -> bool:
        """Whether nobody has found a byte of it rotten since."""
        return self._backing.right

    def handed_over(self) -> None:
        """The kernel has the file open itself by now."""
        self._backing.handed_over()

    def close(self) -> None:
        """It is not in use any more.  Once."""
        self._closed(self._backing)


class _Take:
    """A file that is being opened for somebody, who may lose patience.

    Attributes:
        done: nobody opens it any more.
        wanted: somebody still waits for it.
        found: what came of it.
    """

    def __init__(self) -> None:
        self.done = trio.Event()
        self.wanted = True
        self.found: Backing | None = None
        self._abandoned = False
        self._lock = threading.Lock()

    def keep(self, found: Backing | None) -> None:
        """The thread has it."""
        with self._lock:
            if not self._abandoned:
                self.found = found
                return
        if found is not None:
            found.close()

    def abandon(self) -> None:
        """The thread is left behind; what it finds it closes."""
        with self._lock:
            self._abandoned = True
        if self.found is not None:
            self.found.close()


class Backings:
    """Of one fetcher; on the event loop."""

    def __init__(
        self, cache: DiskCache, tasks: Tasks, flights: Flights, opener: Opener, completion: Completion
    ) -> None:
        self._cache = cache
        self._tasks = tasks
        self._flights = flights
        self._opener = opener
        self._completion = completion
        self._proving: set[Digest] = set()
        self._taking: dict[Digest, _Take] = {}
        self._most = descriptors.limit() // _SHARE // 2
        self._taken = 0

    async def take(self, fetch: BlobFetch) -> Lent | None:
        """The sealed file of a blob, for the caller to close; None when it is not to be had now.

        A sealed blob that was not proved in this boot is, from now on, in the background.
        """
        digest = fetch.blob.digest
        while (other := self._taking.get(digest)) is not None:
            if not other.wanted:
                return None  # the disk hangs: it keeps one thread, and one reader waiting
            with trio.move_on_after(PATIENCE):
                await other.done.wait()
        may = fetch.sight.sealed and fetch.quarantined is None and not fetch.choice.compares_shards
        if not may or self._taken >= self._most:
            return None
        self._taken += 1
        take = self._taking[digest] = _Take()
        self._tasks.start_soon(self._take, fetch, take)
        try:
            with trio.move_on_after(PATIENCE):
                await take.done.wait()
        except trio.Cancelled:
            if take.found is not None:
                self._close(take.found)
            raise
        finally:
            take.wanted = False  # what comes later is closed by who made it
        return None if take.found is None else Lent(take.found, self._close)

    async def _take(self, fetch: BlobFetch, take: _Take) -> None:
        try:
            await self._tasks.threads.run_look(self._look, fetch.blob, take)
            if take.found is None:
                self._taken -= 1
                self._prove(fetch)
            elif not take.wanted:
                found, take.found = take.found, None
                self._close(found)
        except trio.Cancelled:
            take.abandon()
            raise
        except CacheError as exc:  # a read-only disk, for one: what is here is read as ever
            self._taken -= 1
            log.debug("Not lent to the kernel: %s", exc)
        except Exception as exc:
            self._taken -= 1
            self._tasks.report(exc)
        finally:
            del self._taking[fetch.blob.digest]
            take.done.set()

    def _look(self, blob: Blob, take: _Take) -> None:
        take.keep(self._cache.backing(blob))

    def _close(self, backing: Backing) -> None:
        self._taken -= 1
        if self._tasks.may_start:
            self._tasks.start_soon(self._tasks.threads.run, backing.close)
        else:
            backing.close()

    def _prove(self, fetch: BlobFetch) -> None:
        if fetch.blob.digest not in self._proving:
            self._proving.add(fetch.blob.digest)
            self._tasks.start_soon(self._prove_all, fetch)

    async def _prove_all(self, fetch: BlobFetch) -> None:
        """Hash what an earlier boot has marked, a chunk at a time: who reads comes in between."""
        try:
            with fetch.use.lasting():
                chunker = await self._opener.open(fetch)
                if chunker.by_whole:
                    await self._completion.complete(fetch, Priority.FILL)
                    return
                for index in chunker.missing(0, fetch.blob.size):
                    if fetch.chunker is not chunker or chunker.quarantined:
                        return
                    if not chunker.present(index):
                        await self._flights.want(fetch.flights, chunker, index, Priority.FILL).wait()
        except Exception as exc:
            self._tasks.report(exc)
        finally:
            self._proving.discard(fetch.blob.digest)
