"""Prover: everything that decides whether a blob in the cache may be sealed.

Three jobs, each in a thread, each at most once at a time for a blob:
    tend    the running hash follows what arrived, and the blob is sealed when nothing is missing
    whole   a blob without a chunk list is fetched whole, and served once its own digest matched
    seal    prove the whole blob now, for whoever waits for that (`pull`)

The running hash takes as much of a core as receiving does, and no reader waits for it.  So while readers come to a
blob it goes on only where a core is idle at the moment in which a chunk lands.  What it has left out is made up for
when nothing is missing any more, from memory or from the disk, whoever waits then: a blob that is complete is sealed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from fusefs.cache.blob.sealing import seal
from fusefs.errors import BlobQuarantined, CacheError, DigestMismatch, Forsaken, FusefsError, Superseded
from fusefs.fetch.bulk import fetch_all
from fusefs.fetch.flight import Priority, again
from fusefs.system.cores import Cores

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.flights import Flights
    from fusefs.fetch.idle import IdleBlobs
    from fusefs.fetch.prefetcher import Prefetcher
    from fusefs.fetch.tasks import Tasks
    from fusefs.values.digest import Digest

_LOOK_AGAIN = (BlobQuarantined, Superseded)
"""Ends of a blob that comes as a whole after which there may be another way to it."""

_STEP = 8
"""Chunks that the running hash reads back in one go; between steps others get their turn at the disk."""


class _Whole:
    """A blob on its way as a whole.

    Attributes:
        done: it is here, or there is an error.
        error: why it is not here.
        waiters: the deadlines of those who wait; progress moves them.
        arriving: cancelled when they are gone; what has arrived is judged all the same.
        forsaken: they are gone; who has come since, while it was judged, looks again.
    """

    def __init__(self) -> None:
        self.done = trio.Event()
        self.error: BaseException | None = None
        self.waiters: set[trio.CancelScope] = set()
        self.arriving = trio.CancelScope()
        self.forsaken = False

    def progress(self, timeout: float) -> None:
        for scope in self.waiters:
            scope.deadline = trio.current_time() + timeout


class Prover:
    """Belongs to one fetcher."""

    def __init__(self, flights: Flights, tasks: Tasks, idle: IdleBlobs, prefetcher: Prefetcher, timeout: float) -> None:
        self._flights = flights
        self._tasks = tasks
        self._idle = idle
        self._prefetcher = prefetcher
        self._timeout = timeout
        self._tending: dict[Digest, bool] = {}
        self._wholes: dict[Digest, _Whole] = {}
        self._cores = Cores()

    # Following what arrives

    def tend(self, fetch: BlobFetch, chunker: Chunker) -> None:
        """A chunk has become present: let the running hash catch up, and seal when that was the last one."""
        digest = fetch.blob.digest
        whole = self._wholes.get(digest)
        if whole is not None:
            whole.progress(self._timeout)
        elif digest in self._tending:
            self._tending[digest] = True
        elif (chunker.behind or chunker.hashed) and not chunker.quarantined and self._may_follow(chunker):
            self._tending[digest] = False
            fetch.use.hold()
            self._tasks.start_soon(self._tend, fetch, chunker)

    def _may_follow(self, chunker: Chunker) -> bool:
        """Whether the running hash may go on now."""
        return not chunker.watched or self._cores.idle() or chunker.complete

    async def _tend(self, fetch: BlobFetch, chunker: Chunker) -> None:
        digest = fetch.blob.digest
        try:
            more = True
            while more:
                self._tending[digest] = False
                while self._may_follow(chunker) and await self._tasks.threads.run_long(chunker.prefix.advance, _STEP):
                    pass
                more = self._tending[digest]
            if chunker.hashed and chunker.complete and not chunker.sealed:
                await self.seal(fetch, chunker)
                self._prefetcher.keep(fetch)
        except BlobQuarantined as exc:
            self._tasks.last_error = str(exc)  # the log has it from whoever put it there
        except Exception as exc:
            self._tasks.report(exc)
        finally:
            again = self._tending.pop(digest)
            fetch.use.let_go()
        if again and fetch.chunker is not None:
            # While the whole was judged: it may be open anew, and nobody else follows what arrives there.
            self.tend(fetch, fetch.chunker)

    async def seal(self, fetch: BlobFetch, chunker: Chunker) -> bool:
        """Prove the whole blob now; False when chunks are missing after all.

        Raises:
            BlobQuarantined: the list lied; with another source left the blob starts again from there.
            DigestMismatch: a blob without a list is not what it should be; it was dropped.
            Superseded: other files lie there by now; those that are open can be read, and no more.
            CacheError: the disk does not let us.
        """
        try:
            return await self._idle.patiently(partial(self._tasks.threads.run_long, seal, chunker))
        except BlobQuarantined:
            fetch.distrust(chunker)
            raise

    # A blob without a chunk list

    async def whole(self, fetch: BlobFetch, chunker: Chunker, scope: trio.CancelScope) -> None:
        """Wait until a blob without a list is here and proved; every bit of progress moves the deadline of `scope`.

        That its list has turned out to lie, or that others have put something in its place, is no failure where another
        way is left: look again.

        Raises:
            DigestMismatch: no source has it right.
            FusefsError: why it cannot be had now.
        """
        digest = fetch.blob.digest
        whole = self._wholes.get(digest)
        if whole is None:
            whole = self._wholes[digest] = _Whole()
            fetch.flights.forsaken = False
            fetch.use.hold()
            self._tasks.start_soon(self._fetch_whole, fetch, chunker, whole)
        whole.waiters.add(scope)
        killed = False
        try:
            await whole.done.wait()
        except trio.Cancelled:
            killed = trio.current_time() < scope.deadline
            raise
        finally:
            whole.waiters.discard(scope)
            if killed and not whole.waiters:
                self._forsake(fetch, chunker, whole)
        if whole.error is not None and (fetch.quarantined or not isinstance(whole.error, _LOOK_AGAIN)):
            raise again(whole.error)

    def _forsake(self, fetch: BlobFetch, chunker: Chunker, whole: _Whole) -> None:
        """Who wanted all of a blob is gone before his time, and nobody else wants it: no more of it is fetched."""
        if self._wholes.get(fetch.blob.digest) is not whole:
            return
        whole.forsaken = True
        if chunker.complete:
            return  # it is judged now, which takes no network; a blob that is complete is sealed
        del self._wholes[fetch.blob.digest]  # who comes next begins anew
        whole.arriving.cancel()  # before the flights land, or the error of one would be taken for its own
        fetch.flights.forsaken = True
        for flight in list(fetch.flights.values()):
            if flight.chunker is chunker:
                flight.foreseen = False  # nothing of such a blob is foreseen but all of it
                if not flight.wanted and not flight.started:
                    self._flights.land(flight, Forsaken(f"{flight.blob.short}…: its readers are gone"))

    async def _fetch_whole(self, fetch: BlobFetch, chunker: Chunker, whole: _Whole) -> None:
        try:
            await self._until_sealed(fetch, chunker, whole)
        except Exception as exc:  # told to those who wait
            whole.error = exc
            if isinstance(exc, Superseded):
                fetch.supersede(chunker)  # what it has open can never be sealed, and so never be served
        finally:
            if self._wholes.get(fetch.blob.digest) is whole:
                del self._wholes[fetch.blob.digest]
            whole.done.set()
            fetch.use.let_go()

    async def _until_sealed(self, fetch: BlobFetch, chunker: Chunker, whole: _Whole) -> None:
        error: FusefsError = CacheError(f"{fetch.blob.digest}: could not be sealed")
        # Each source twice: wrong bytes once are an accident.  And once more for what the cache had wrong by itself.
        for _ in range(2 * len(fetch.origins) + 1):
            if not chunker.sealed:
                with trio.CancelScope() as whole.arriving:
                    await fetch_all(self._flights, fetch, chunker, Priority.READ_AHEAD)
                if whole.forsaken and not chunker.complete:
                    return
                while await self._tasks.threads.run_long(chunker.prefix.advance, _STEP):
                    whole.progress(self._timeout)
            try:
                if await self.seal(fetch, chunker):
                    return
            except DigestMismatch as exc:
                self._tasks.report(exc)
                error = exc
                fetch.ask_next_first()
                if whole.forsaken:
                    return
        raise error
