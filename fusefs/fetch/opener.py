"""Opener: from a blob to its open chunker, once, and again when its chunk list turns out to be wrong."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import trio

from fusefs.cache.blob.writeback import lives_in_memory
from fusefs.errors import CacheFull
from fusefs.fetch.flight import again

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.errors import DigestMismatch
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.idle import IdleBlobs
    from fusefs.fetch.listchoice import Listed
    from fusefs.fetch.prefetcher import Prefetcher
    from fusefs.fetch.proving import Prover
    from fusefs.fetch.threads import CacheThreads
    from fusefs.values.digest import Digest

log = logging.getLogger(__name__)

_MOST_ASKING = 16
"""Chunk lists that one host is asked for at a time; each waits in a thread for up to `--timeout`."""


def _open(fetch: BlobFetch, listed: Listed) -> tuple[Chunker, bool]:
    """Open a blob; and whether its list was found lying while it was closed.  Blocking, but short."""
    left = fetch.left
    chunker = fetch.open_chunker(listed)
    # From here on the map tells of verdicts; before that, the quarantine.
    return chunker, left is not None and left.convicted()


def _reopened(fetch: BlobFetch, chunker: Chunker) -> Chunker:
    """A chunker with files, for one that has none.  Blocking, but short.

    Raises:
        CacheFull: there is still no room.
        CacheError: the files of the blob cannot be used.
    """
    fresh = fetch.open_chunker((chunker.chunks, chunker.voucher))
    if not lives_in_memory(fresh):
        return fresh
    reason = fresh.full
    fresh.close()
    raise reason or CacheFull(f"{fetch.blob.digest}: no room for it")


class Opener:
    """Opens the blobs of one fetcher."""

    def __init__(self, threads: CacheThreads, idle: IdleBlobs, prefetcher: Prefetcher, prover: Prover) -> None:
        self._threads = threads
        self._idle = idle
        self._prefetcher = prefetcher
        self._prover = prover
        # Threads of their own: what is present must open while others wait for a dead network (P7), and what another
        # host has while they wait for a dead host.
        self._asking: dict[str, trio.CapacityLimiter] = {}
        self._locks: dict[Digest, trio.Lock] = {}

    async def open(self, fetch: BlobFetch) -> Chunker:
        """The blob's chunker, opened by whoever needs it first.

        Raises:
            FusefsError: no list, no cache, or it is in quarantine.
        """
        chunker = fetch.chunker
        if chunker is not None:
            if not chunker.quarantined:
                return chunker
            fetch.distrust(chunker)
        if fetch.quarantined is not None:
            raise again(fetch.quarantined)
        async with self._lock(fetch):
            if fetch.chunker is None:
                await self._idle.make_room()
                listed = await self._idle.patiently(partial(self._threads.run, fetch.local_list))
                if listed is None:
                    ask = partial(trio.to_thread.run_sync, fetch.remote_list, limiter=self._asking_of(fetch))
                    listed = await self._idle.patiently(ask)
                chunker = await self._open(fetch, listed)
                if chunker.complete and not chunker.sealed:
                    self._prover.tend(fetch, chunker)  # whoever fetched the last chunk died before sealing
            assert fetch.chunker is not None
            return fetch.chunker

    async def foresee(self, fetch: BlobFetch) -> None:
        """Have it known whether a list counts, before somebody needs the blob.

        Raises:
            FusefsError: it cannot be known now.
        """
        async with self._lock(fetch):
            if fetch.chunker is None and fetch.whole_first is None:
                await trio.to_thread.run_sync(fetch.foresee, limiter=self._asking_of(fetch))

    async def _open(self, fetch: BlobFetch, listed: Listed) -> Chunker:
        opened = await self._idle.patiently(partial(self._threads.run_to_end, _open, fetch, listed))
        chunker, convicted = opened
        # No await from here on: nobody may read by the new list before handles of the old one are known to be old.
        if convicted and fetch.left is not None:
            fetch.convict()
        fetch.left = None
        fetch.chunker = chunker
        self._idle.opened(fetch)
        self._prefetcher.opened(fetch, chunker)
        return chunker

    async def reopen(self, fetch: BlobFetch, chunker: Chunker) -> Chunker | None:
        """Open a blob again that lives in memory, for the disk had no room for it: it may have some by now.

        Returns:
            Its chunker from now on, which has all that the other one had; None when that is in memory, too.

        Raises:
            CacheFull: there is still no room.
            CacheError: the files of the blob cannot be used.
        """
        async with self._lock(fetch):
            if fetch.chunker is not chunker:
                return fetch.chunker
            fresh = await self._threads.run_to_end(_reopened, fetch, chunker)
            if fetch.chunker is not chunker or fetch.flights:
                await self._threads.run_to_end(fresh.close)
                return None
            # No await from here on: whoever looks finds each chunk at the one or at the other.
            fresh.take_over(chunker)
            fetch.chunker = fresh
            fetch.retired.append(chunker)  # threads may still use it
            self._idle.opened(fetch)
            return fresh

    async def relist(self, fetch: BlobFetch, chunker: Chunker, mismatch: DigestMismatch) -> bool:
        """Every source has bytes that the pinned list rejects: the list may have been damaged on its way to us.

        Returns:
            True when the blob has started again with another list.
        """
        listed = await trio.to_thread.run_sync(
            fetch.other_list, chunker, mismatch.actual, limiter=self._asking_of(fetch), abandon_on_cancel=True
        )
        if listed is None:
            return False
        async with self._lock(fetch):
            if fetch.chunker is chunker:
                if listed[1].who:
                    log.warning("%s: its chunk list was wrong; %s has another one", fetch.blob.digest, listed[1].who)
                fetch.retire(chunker)
                await self._open(fetch, listed)
        return True

    def _asking_of(self, fetch: BlobFetch) -> trio.CapacityLimiter:
        return self._asking.setdefault(fetch.flights.host, trio.CapacityLimiter(_MOST_ASKING))

    def _lock(self, fetch: BlobFetch) -> trio.Lock:
        return self._locks.setdefault(fetch.blob.digest, trio.Lock())
