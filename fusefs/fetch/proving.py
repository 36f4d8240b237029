"""Prover: everything that decides whether what lies in the cache may be served or sealed.

Four jobs, each in a thread, each at most once at a time for a chunk or a blob:
    prove   a chunk that was marked in an earlier boot is hashed again before it is served; no network is needed
    tend    the running hash follows what arrived out of order, and the blob is sealed when nothing is missing
    whole   a blob without a chunk list is fetched whole, and served once its own digest matched
    seal    prove the whole blob now, for whoever waits for that (`pull`)
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import trio

from fusefs.cache.blob.sealing import seal, unseal
from fusefs.errors import BlobQuarantined, CacheError, DigestMismatch, FusefsError
from fusefs.fetch.flight import Flight, Priority, again

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.values.digest import Digest

log = logging.getLogger(__name__)

_STEP = 8
"""Chunks that the running hash reads back in one go; between steps others get their turn at the disk."""


class _Whole:
    """A blob on its way as a whole, and the deadlines of those who wait: progress moves them."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.error: BaseException | None = None
        self.waiters: set[trio.CancelScope] = set()

    def progress(self, timeout: float) -> None:
        for scope in self.waiters:
            scope.deadline = trio.current_time() + timeout


class Prover:
    """Belongs to one fetcher; its tasks live in the fetcher's nursery and never raise into it."""

    def __init__(self, fetcher: Fetcher, nursery: trio.Nursery, timeout: float) -> None:
        self._fetcher = fetcher
        self._nursery = nursery
        self._timeout = timeout
        self._tending: dict[Digest, bool] = {}
        self._wholes: dict[Digest, _Whole] = {}

    # A claimed chunk

    def prove(self, flight: Flight) -> None:
        """Land `flight` when its chunk turns out to be right, else queue it to be fetched."""
        flight.started = True
        flight.fetch.use.hold()
        self._nursery.start_soon(self._prove, flight)

    async def _prove(self, flight: Flight) -> None:
        chunker, index = flight.chunker, flight.index
        try:
            if not chunker.try_lock(index):
                await self._fetcher.await_foreign(flight)
                return
            right = await self._fetcher.threads.run(chunker.prove, index)
            if not right and chunker.sealed:
                await self._fetcher.threads.run(unseal, chunker)
                self._nursery.start_soon(self._mend, flight.fetch)
        except Exception as exc:  # whatever it is, those who wait must hear of it
            self._fetcher.land(flight, exc)
            return
        finally:
            chunker.unlock(index)
            flight.fetch.use.let_go()
        if right:
            self._fetcher.land(flight)
        else:
            # Not a warning: after a power cut, or with a lost map, most claims are of what was never there.
            log.info("%s chunk %s is not on disk as claimed and is fetched", chunker.blob.digest, chunker.chunks[index])
            self._fetcher.requeue(flight)

    async def _mend(self, fetch: BlobFetch) -> None:
        """Have an unsealed blob whole and sealed again: other processes, to which it is sealed, will not do it."""
        try:
            with fetch.wanted_whole():
                await self._fetcher.complete(fetch, Priority.FILL)
        except Exception as exc:
            self._fetcher.report(exc)

    # Following what arrives

    def tend(self, fetch: BlobFetch, chunker: Chunker) -> None:
        """A chunk has become present: let the running hash catch up, and seal when that was the last one."""
        digest = fetch.blob.digest
        whole = self._wholes.get(digest)
        if whole is not None:
            whole.progress(self._timeout)
        elif digest in self._tending:
            self._tending[digest] = True
        elif not chunker.quarantined and (chunker.behind or chunker.hashed):
            self._tending[digest] = False
            fetch.use.hold()
            self._nursery.start_soon(self._tend, fetch, chunker)

    async def _tend(self, fetch: BlobFetch, chunker: Chunker) -> None:
        digest = fetch.blob.digest
        try:
            more = True
            while more:
                self._tending[digest] = False
                while await self._fetcher.threads.run_long(chunker.prefix.advance, chunker, _STEP):
                    pass
                more = self._tending[digest]
            if chunker.hashed and chunker.complete and not chunker.sealed:
                await self.seal(fetch, chunker)
                self._fetcher.keep_start(fetch)
        except BlobQuarantined as exc:
            self._fetcher.last_error = str(exc)  # the log has it from whoever put it there
        except Exception as exc:
            self._fetcher.report(exc)
        finally:
            self._tending.pop(digest, None)
            fetch.use.let_go()

    async def seal(self, fetch: BlobFetch, chunker: Chunker) -> bool:
        """Prove the whole blob now; False when chunks are missing after all.

        Raises:
            BlobQuarantined: the list lied; with another source left the blob starts again from there.
            DigestMismatch: a blob without a list is not what it should be; it was dropped.
            CacheError: the disk does not let us.
        """
        try:
            return await self._fetcher.patiently(partial(self._fetcher.threads.run_long, seal, chunker))
        except BlobQuarantined:
            fetch.distrust(chunker)
            raise

    # A blob without a chunk list

    async def whole(self, fetch: BlobFetch, chunker: Chunker, scope: trio.CancelScope) -> None:
        """Wait until a blob without a list is here and proved; every bit of progress moves the deadline of `scope`.

        Raises:
            DigestMismatch: no source has it right.
            FusefsError: why it cannot be had now.
        """
        digest = fetch.blob.digest
        whole = self._wholes.get(digest)
        if whole is None:
            whole = self._wholes[digest] = _Whole()
            fetch.use.hold()
            self._nursery.start_soon(self._fetch_whole, fetch, chunker, whole)
        whole.waiters.add(scope)
        try:
            await whole.done.wait()
        finally:
            whole.waiters.discard(scope)
        if whole.error is not None:
            raise again(whole.error)

    async def _fetch_whole(self, fetch: BlobFetch, chunker: Chunker, whole: _Whole) -> None:
        try:
            await self._until_sealed(fetch, chunker, whole)
        except Exception as exc:  # told to those who wait
            whole.error = exc
        finally:
            del self._wholes[fetch.blob.digest]
            whole.done.set()
            fetch.use.let_go()

    async def _until_sealed(self, fetch: BlobFetch, chunker: Chunker, whole: _Whole) -> None:
        error: FusefsError = CacheError(f"{fetch.blob.digest}: could not be sealed")
        # Each source twice: wrong bytes once are an accident.  And once more for what the cache had wrong by itself.
        for _ in range(2 * len(fetch.origins) + 1):
            if not chunker.sealed:
                await self._fetcher.fetch_all(fetch, chunker, Priority.READ_AHEAD)
                while await self._fetcher.threads.run_long(chunker.prefix.advance, chunker, _STEP):
                    whole.progress(self._timeout)
            try:
                if await self.seal(fetch, chunker):
                    return
            except DigestMismatch as exc:
                self._fetcher.report(exc)
                error = exc
                fetch.origins.rotate()
        raise error
