"""Fetcher: makes chunks present, for whoever asks; nobody asks twice for what is on its way.

Primitives
    A *flight* stands for one chunk on its way.  The *queue* orders flights.  The *dispatcher* task takes the most
    urgent flight, extends it to a span over queued neighbours, takes the chunks' locks, and starts a worker thread.

Invariants
    1. A chunk has at most one flight in this process, and with the chunk's lock at most one fetch in all processes.
    2. The chunk map is the truth.  Whoever wakes looks again; a flight's end is a hint.
    3. Flights belong to the mount's nursery: the reader that caused one may be cancelled, the flight goes on.
    4. An error is told to those who wait now and forgotten.
    5. Prefetch never takes the last workers, so a demand read never waits behind it.
    6. Buffers of running workers stay within half of the memory budget (the spill has the other half).  A chunk that
       is larger than that alone, or that a reader wants while prefetch has the memory, streams through 1 MiB.

Timeline of a cold read
    BlobFile.read → ensure → flights queued (demand) → dispatcher: span, locks → worker thread: per chunk fill, then
    `run_sync_soon(_landed)` → unlock, flight lands, waiters look again → pread.

Failure modes
    Another process has the chunk's lock: the flight is parked and polled; it lands when the map says present, and is
    queued again when the lock is free (its holder failed or died).
    Unmount: sources are closed, which ends workers with Cancelled; their flights land with it.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, TypeVar

import trio

from fusefs.errors import BlobQuarantined, CacheError, DigestMismatch, FusefsError, ReadTimeout
from fusefs.fetch.blobfetch import BlobFetch
from fusefs.fetch.dispatcher import Dispatcher
from fusefs.fetch.driver import Foresight
from fusefs.fetch.flight import Flight, Priority, again
from fusefs.fetch.idle import IdleBlobs
from fusefs.fetch.opener import Opener
from fusefs.fetch.proving import Prover
from fusefs.fetch.threads import CacheThreads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.disk import DiskCache
    from fusefs.fetch.left import Left
    from fusefs.values.chunks import Blob
    from fusefs.values.counters import Counters
    from fusefs.values.digest import Digest
    from fusefs.values.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

_ALL_AHEAD = 256 << 20
"""Bytes queued at a time when all of a blob is fetched: enough for every worker, and the queue stays short."""


def _nobody_listens(_blob: Blob) -> None:
    """A pull has no readers."""


_GLANCE = 1.0
"""Seconds between two looks at what is open, and at whether another process has found a list lying."""

_SEAL_TRIES = 3
"""Rounds of fetching and sealing: a chunk may rot, or a list turn out to lie, between the two."""


class Fetcher:
    """Fetches for all blobs of one mount or pull.  Lives on the event loop; `run` must be running.

    Attributes:
        counters: what happened so far.
        threads: where blocking work of the cache is done.
        last_error: what went wrong last that no reader was told; empty when nothing did.
        lied: told of a blob by whose chunk list wrong bytes may have been served.
    """

    def __init__(self, cache: DiskCache, settings: Settings, counters: Counters) -> None:
        self.counters = counters
        self.threads = CacheThreads()
        self.last_error = ""
        self.lied: Callable[[Blob], None] = _nobody_listens
        self._cache = cache
        self._settings = settings
        self._dispatcher = Dispatcher(settings, counters, self.land, self.requeue)
        self._blobs: dict[Digest, BlobFetch] = {}
        self._idle = IdleBlobs(self.threads, cache.quota, settings.timeout)
        self._opener = Opener(self.threads, self._idle)
        self._foresight = Foresight(self)
        self._closed = False
        self._nursery: trio.Nursery | None = None
        self._prover: Prover | None = None

    def track(self, blob: Blob) -> BlobFetch:
        """What the fetcher knows of `blob`; the same object for the same digest."""
        found = self._blobs.get(blob.digest)
        if found is None:
            found = self._blobs[blob.digest] = BlobFetch(blob, self._cache, self._settings, self._caught_lying)
        return found

    def _caught_lying(self, blob: Blob) -> None:
        self.lied(blob)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the work until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._prover = Prover(self, self._nursery, self._settings.timeout)
                self._nursery.start_soon(self._watch)
                task_status.started()
                await self._dispatcher.run(self._nursery)
        finally:
            self._nursery = None

    async def _watch(self) -> None:
        """Now and then: close what nobody uses, and look for what other processes have found out.

        They may find a list lying, while the kernel answers our readers from pages that it has kept.
        """
        while True:
            await trio.sleep(_GLANCE)
            await self._idle.look()
            left = []
            for fetch in list(self._blobs.values()):
                if fetch.chunker is not None and fetch.chunker.quarantined:
                    fetch.distrust(fetch.chunker)
                elif fetch.chunker is None and fetch.left is not None:
                    left.append((fetch, fetch.left))
            if left:
                await self._look_at(left)

    async def _look_at(self, left: list[tuple[BlobFetch, Left]]) -> None:
        verdicts = await self.threads.run(lambda: [closed.convicted() for _, closed in left])
        for (fetch, closed), convicted in zip(left, verdicts, strict=True):
            if convicted and fetch.left is closed:
                fetch.convict()

    def close(self) -> None:
        """Close every blob in the cache, after `run` has ended and as soon as no thread uses them.  Idempotent."""
        if not self._closed:
            self._closed = True
            self.threads.when_idle(self._close)

    def _close(self) -> None:
        for fetch in self._blobs.values():
            for chunker in (fetch.chunker, *fetch.retired):
                if chunker is not None:
                    chunker.close()
            fetch.chunker = None
            fetch.keep_last()
        self._idle.close_detached()

    @property
    def prover(self) -> Prover:
        """Who proves and seals; only while `run` is running."""
        assert self._prover is not None
        return self._prover

    @property
    def rate(self) -> float:
        """Bytes per second that arrive verified now."""
        return self._dispatcher.rate.at(trio.current_time())

    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        return self._dispatcher.in_flight

    @property
    def queued(self) -> int:
        """Chunks that are wanted and wait for a worker."""
        return sum(not flight.started for fetch in self._blobs.values() for flight in fetch.flights.values())

    @property
    def evicted(self) -> int:
        """Bytes that had to go from the disk so far, for others to come."""
        return self._cache.quota.evicted

    def flights(self) -> Iterator[str]:
        """One line a chunk on its way."""
        for fetch in self._blobs.values():
            for flight in fetch.flights.values():
                how = "under way" if flight.started else "queued"
                yield f"{fetch.blob.digest.short} chunk {flight.index}: {flight.priority.name.lower()}, {how}"

    @property
    def open_blobs(self) -> int:
        """Blobs whose files are open."""
        return len(self._idle)

    async def patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work`, and again while there is no descriptor for it: see `IdleBlobs.patiently`."""
        return await self._idle.patiently(work)

    async def await_foreign(self, flight: Flight) -> None:
        """Wait for a chunk that another process has locked."""
        await self._dispatcher.await_foreign(flight)

    # What readers ask for

    async def open(self, fetch: BlobFetch) -> Chunker:
        """The blob's chunker, opened by whoever needs it first.

        Raises:
            FusefsError: no list, no cache, or it is in quarantine.
        """
        first = fetch.chunker is None
        chunker = await self._opener.open(fetch)
        if fetch.early:
            self._foresight.opened(fetch, chunker)
        if first and chunker.complete and not chunker.sealed:
            self.prover.tend(fetch, chunker)  # whoever fetched the last chunk died before sealing
        return chunker

    async def ensure(self, fetch: BlobFetch, off: int, size: int) -> Chunker:
        """Make [off, off+size) of a blob servable, at demand priority.

        Raises:
            ReadTimeout: `--timeout` seconds passed (for what comes in one stream, or has no list: without progress).
            FusefsError: why it cannot be had now; the next call tries again.
        """
        with trio.move_on_after(self._settings.timeout) as scope, fetch.use.lasting(scope):
            chunker = await self.open(fetch)
            chunker.watched = True
            while missing := chunker.missing(off, size):
                if chunker.by_whole:
                    await self._whole(fetch, chunker, scope)
                else:
                    await self._demand(fetch, chunker, missing)
                chunker = await self.open(fetch)
            self._foresight.served(fetch, chunker, off)
            return chunker
        raise ReadTimeout(
            f"{fetch.blob.digest.short}…: bytes {off}-{off + size - 1} took over {self._settings.timeout:g} s"
        )

    async def _whole(self, fetch: BlobFetch, chunker: Chunker, scope: trio.CancelScope) -> None:
        """Wait until the whole blob is proved, or its list has turned out to lie and another way is left."""
        try:
            await self.prover.whole(fetch, chunker, scope)
        except BlobQuarantined:
            if fetch.quarantined is not None:
                raise

    async def _demand(self, fetch: BlobFetch, chunker: Chunker, missing: list[int]) -> None:
        """Wait for chunks that a reader lacks.

        A flight that others began, perhaps long before this reader came (a prefetch at the end of its patience), may
        fail of trouble that this reader has not waited out yet: that is a reason to look again, not to fail.
        """
        before = {index for index in missing if index in fetch.flights}
        mismatch = None
        for flight in [self.want(fetch, chunker, index, Priority.DEMAND) for index in missing]:
            try:
                await flight.wait()
            except FusefsError as exc:
                if flight.index in before and (exc.temporary or flight.chunker is not chunker):
                    continue
                if not isinstance(exc, DigestMismatch):
                    raise
                mismatch = exc
                break
        if mismatch is not None and not await self._opener.relist(fetch, chunker, mismatch):
            raise mismatch

    def observe(self, fetch: BlobFetch, off: int, size: int) -> None:
        """A reader asks for [off, off+size), which lies in the blob: fetch ahead of it what it will want."""
        self._foresight.observe(fetch, off, size)

    def keep_start(self, fetch: BlobFetch) -> None:
        """A reader is done with a blob, or all of it is here: the order in which it was wanted is kept for the next."""
        if self._nursery is not None:
            self._foresight.keep(fetch)

    def want(self, fetch: BlobFetch, chunker: Chunker, index: int, priority: Priority) -> Flight:
        """The flight of a chunk that is missing: the one that is under way, or a new one."""
        flight = fetch.flights.get(index)
        if flight is not None:
            self._dispatcher.promote(flight, priority)
        else:
            flight = fetch.flights[index] = Flight(fetch, chunker, index, priority)
            self.requeue(flight)
        return flight

    def requeue(self, flight: Flight) -> None:
        """Start a flight, or start it again: what is only claimed is hashed, the rest is fetched."""
        if flight.chunker.claimed(flight.index):
            self.prover.prove(flight)
        else:
            self._dispatcher.push(flight)

    def land(self, flight: Flight, error: BaseException | None = None) -> None:
        """A flight is over; only here does it leave the table."""
        flight.fetch.flights.pop(flight.index, None)
        flight.land(error)
        if error is None and self._prover is not None:
            self._prover.tend(flight.fetch, flight.chunker)

    def start_soon(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run a task that ends with the mount and raises nothing."""
        assert self._nursery is not None
        self._nursery.start_soon(work)

    def report(self, error: BaseException) -> None:
        """Something went wrong that nobody waits for: say so once."""
        text = str(error) or type(error).__name__
        if text != self.last_error:
            log.warning("%s", text, exc_info=None if isinstance(error, FusefsError) else error)
        self.last_error = text

    async def fetch_all(self, fetch: BlobFetch, chunker: Chunker, priority: Priority) -> None:
        """Make every chunk of a blob present, a bounded number of flights at a time.

        Raises:
            FusefsError: the first failure; flights that are under way go on.
        """
        flights: deque[Flight] = deque()
        most = max(2, _ALL_AHEAD // max(1, chunker.chunks[0].size)) if len(chunker.chunks) else 0
        for index in chunker.missing(0, chunker.blob.size):
            if chunker.present(index):
                continue  # arrived, to be proved with the whole; or it has come meanwhile
            flights.append(self.want(fetch, chunker, index, priority))
            if len(flights) >= most:
                await self._arrived(fetch, chunker, flights.popleft(), priority)
        for flight in flights:
            await self._arrived(fetch, chunker, flight, priority)

    async def _arrived(self, fetch: BlobFetch, chunker: Chunker, flight: Flight, priority: Priority) -> None:
        """Wait for a flight.  One that began for a chunk list that was wrong says nothing about the one of now."""
        while flight.chunker is not chunker:
            with contextlib.suppress(FusefsError):
                await flight.wait()
            if fetch.chunker is not chunker or chunker.present(flight.index):
                return
            flight = self.want(fetch, chunker, flight.index, priority)
        await flight.wait()

    async def complete(self, fetch: BlobFetch, priority: Priority = Priority.READ_AHEAD) -> None:
        """Fetch all of a blob and seal it (`pull`, `--fill`).

        Raises:
            FusefsError: why it cannot be had or proved.
        """
        with fetch.use.lasting():
            for _ in range(_SEAL_TRIES):
                chunker = await self.open(fetch)
                if not await self._all(fetch, chunker, priority):
                    continue
                if chunker.full is not None and not chunker.complete:
                    raise again(chunker.full)
                if chunker.sealed or await self.prover.seal(fetch, chunker):
                    return
        raise CacheError(f"{fetch.blob.digest}: could not be sealed")

    async def _all(self, fetch: BlobFetch, chunker: Chunker, priority: Priority) -> bool:
        """Have all of a blob; False when it has started again with another chunk list."""
        if chunker.by_whole:
            with trio.CancelScope() as scope:
                await self._whole(fetch, chunker, scope)
            if scope.cancelled_caught:
                raise ReadTimeout(f"{fetch.blob.digest}: no progress for {self._settings.timeout:g} s")
            return fetch.chunker is chunker
        try:
            await self.fetch_all(fetch, chunker, priority)
        except DigestMismatch as exc:
            mismatch = exc
        else:
            return fetch.chunker is chunker
        if not await self._opener.relist(fetch, chunker, mismatch):
            raise mismatch
        return False
