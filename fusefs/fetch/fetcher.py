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

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, TypeVar

import trio

from fusefs.errors import CacheError, Cancelled, DigestMismatch, FusefsError, ReadTimeout
from fusefs.fetch.blobfetch import BlobFetch
from fusefs.fetch.dispatcher import Dispatcher
from fusefs.fetch.flight import Flight, Priority, again
from fusefs.fetch.proving import Prover

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fusefs.cache.chunker import Chunker
    from fusefs.cache.disk import DiskCache
    from fusefs.chunks import Blob
    from fusefs.config import Settings
    from fusefs.digest import Digest
    from fusefs.stats import Counters

T = TypeVar("T")

log = logging.getLogger(__name__)

_ALL_AHEAD = 256 << 20
"""Bytes queued at a time when all of a blob is fetched: enough for every worker, and the queue stays short."""

_SEAL_TRIES = 3
"""Rounds of fetching and sealing: a chunk may rot, or a list turn out to lie, between the two."""


class Fetcher:
    """Fetches for all blobs of one mount or pull.  Lives on the event loop; `run` must be running.

    Attributes:
        counters: what happened so far.
        last_error: what went wrong last that no reader was told; empty when nothing did.
    """

    def __init__(self, cache: DiskCache, settings: Settings, counters: Counters) -> None:
        self._cache = cache
        self._settings = settings
        self.counters = counters
        self._dispatcher = Dispatcher(settings, counters, self.land, self.requeue)
        self._blobs: dict[Digest, BlobFetch] = {}
        self._lists = trio.CapacityLimiter(16)
        self._cache_threads = trio.CapacityLimiter(4)
        self._busy = 0
        self._closed = False
        self._busy_lock = threading.Lock()
        self.last_error = ""
        self._opening: dict[Digest, trio.Lock] = {}
        self._nursery: trio.Nursery | None = None
        self._prover: Prover | None = None

    def track(self, blob: Blob) -> BlobFetch:
        """What the fetcher knows of `blob`; the same object for the same digest."""
        found = self._blobs.get(blob.digest)
        if found is None:
            found = self._blobs[blob.digest] = BlobFetch(blob, self._cache, self._settings)
        return found

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the work until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._prover = Prover(self, self._nursery, self._settings.timeout)
            task_status.started()
            await self._dispatcher.run(self._nursery)

    def close(self) -> None:
        """Close every blob in the cache, after `run` has ended.

        A thread that unmount did not wait for (an fsync of gigabytes) may still use them; then the last one does it.
        """
        with self._busy_lock:
            self._closed = True
            if self._busy:
                return
        for fetch in self._blobs.values():
            for chunker in (fetch.chunker, *fetch.retired):
                if chunker is not None:
                    chunker.close()
            fetch.chunker = None

    @property
    def rate(self) -> float:
        """Bytes per second that arrive verified now."""
        return self._dispatcher.rate.at(trio.current_time())

    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        return self._dispatcher.in_flight

    async def await_foreign(self, flight: Flight) -> None:
        """Wait for a chunk that another process has locked."""
        await self._dispatcher.await_foreign(flight)

    # What readers ask for

    async def open(self, fetch: BlobFetch) -> Chunker:
        """The blob's chunker, opened by whoever needs it first.

        Raises:
            FusefsError: no list, no cache, or it is in quarantine.
        """
        if fetch.chunker is not None and fetch.chunker.quarantined:
            fetch.distrust(fetch.chunker)
        if fetch.quarantined is not None:
            raise again(fetch.quarantined)
        async with self._opening.setdefault(fetch.blob.digest, trio.Lock()):
            if fetch.chunker is None:
                listed = await self.in_thread(fetch.local_list)
                if listed is None:
                    # Threads of its own: what is present must open while others wait for a dead network (P7).
                    listed = await trio.to_thread.run_sync(fetch.remote_list, limiter=self._lists)
                # Not abandoned when the reader is cancelled: nobody would ever close what the thread has opened.
                fetch.chunker = await trio.to_thread.run_sync(fetch.open_chunker, listed, limiter=self._cache_threads)
                if fetch.chunker.complete and not fetch.chunker.sealed and self._prover is not None:
                    self._prover.tend(fetch, fetch.chunker)  # whoever fetched the last chunk died before sealing
            return fetch.chunker

    async def ensure(self, fetch: BlobFetch, off: int, size: int) -> Chunker:
        """Make [off, off+size) of a blob servable, at demand priority.

        Raises:
            ReadTimeout: `--timeout` seconds passed (for a blob without a list: passed without progress).
            FusefsError: why it cannot be had now; the next call tries again.
        """
        with trio.move_on_after(self._settings.timeout) as scope:
            chunker = await self.open(fetch)
            while missing := chunker.missing(off, size):
                assert self._prover is not None
                if not chunker.chunks.proved and (chunker.sealed or not chunker.serve_unproved):
                    await self._prover.whole(fetch, chunker, scope)
                else:
                    try:
                        await self._demand(fetch, chunker, missing)
                    except DigestMismatch as exc:
                        if not await self._relisted(fetch, chunker, exc):
                            raise
                chunker = await self.open(fetch)
            return chunker
        raise ReadTimeout(
            f"{fetch.blob.digest.short}…: bytes {off}-{off + size - 1} took over {self._settings.timeout:g} s"
        )

    async def _demand(self, fetch: BlobFetch, chunker: Chunker, missing: list[int]) -> None:
        """Wait for chunks that a reader lacks.

        A flight that others began, perhaps long before this reader came (a prefetch at the end of its patience), may
        fail of trouble that this reader has not waited out yet: that is a reason to look again, not to fail.
        """
        before = {index for index in missing if index in fetch.flights}
        flights = [self.want(fetch, chunker, index, Priority.DEMAND) for index in missing]
        for flight in flights:
            try:
                await flight.wait()
            except FusefsError as exc:
                stale = flight.index in before and (exc.temporary or flight.chunker is not chunker)
                if not stale:
                    raise

    async def _relisted(self, fetch: BlobFetch, chunker: Chunker, mismatch: DigestMismatch) -> bool:
        """Every source has bytes that the pinned list rejects: the list may have been damaged on its way to us.

        Returns:
            True when the blob has started again with another list.
        """
        listed = await trio.to_thread.run_sync(
            fetch.other_list, chunker, mismatch.actual, limiter=self._lists, abandon_on_cancel=True
        )
        if listed is None:
            return False
        async with self._opening.setdefault(fetch.blob.digest, trio.Lock()):
            if fetch.chunker is chunker:
                log.warning("%s: its chunk list was wrong; %s has another one by now", fetch.blob.digest, listed[1])
                fetch.retire(chunker)
                fetch.chunker = await trio.to_thread.run_sync(fetch.open_chunker, listed, limiter=self._cache_threads)
        return True

    def observe(self, fetch: BlobFetch, off: int, size: int) -> None:
        """A reader has asked for [off, off+size): fetch ahead of it if it reads in order."""
        chunker = fetch.chunker
        if chunker is None or chunker.sealed or not (chunker.chunks.proved or chunker.serve_unproved):
            return
        # With no disk to put it, what is fetched too far ahead has left memory again before it is read.
        ahead = fetch.readahead.observe(off, size, 0 if chunker.full else self.rate)
        if ahead:
            for index in chunker.missing(ahead.start, len(ahead)):
                self.want(fetch, chunker, index, Priority.READ_AHEAD)

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
            assert self._prover is not None
            self._prover.prove(flight)
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

    async def in_thread(self, work: Callable[..., T], *args: object) -> T:
        """Run blocking work of the cache; unmount does not wait for it."""
        # Whoever is first has it: the thread, or the caller who is cancelled before the thread has begun.
        begun = threading.Lock()

        def counted() -> T:
            if not begun.acquire(blocking=False):
                raise Cancelled("nobody waits any more")
            try:
                return work(*args)
            finally:
                self._count_busy(-1)

        self._count_busy(1)
        try:
            return await trio.to_thread.run_sync(counted, abandon_on_cancel=True, limiter=self._cache_threads)
        except trio.Cancelled:
            if begun.acquire(blocking=False):
                self._count_busy(-1)
            raise

    def _count_busy(self, change: int) -> None:
        with self._busy_lock:
            self._busy += change
            last = self._closed and not self._busy
        if last:
            self.close()

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
                await flights.popleft().wait()
        for flight in flights:
            await flight.wait()

    async def complete(self, fetch: BlobFetch, priority: Priority = Priority.READ_AHEAD) -> None:
        """Fetch all of a blob and seal it (`pull`, `--fill`).

        Raises:
            FusefsError: why it cannot be had or proved.
        """
        assert self._prover is not None
        for _ in range(_SEAL_TRIES):
            chunker = await self.open(fetch)
            if not chunker.chunks.proved:
                with trio.CancelScope() as scope:
                    await self._prover.whole(fetch, chunker, scope)
                if scope.cancelled_caught:
                    raise ReadTimeout(f"{fetch.blob.digest}: no progress for {self._settings.timeout:g} s")
            else:
                try:
                    await self.fetch_all(fetch, chunker, priority)
                except DigestMismatch as exc:
                    if not await self._relisted(fetch, chunker, exc):
                        raise
                    continue
            if chunker.full is not None and not chunker.complete:
                raise again(chunker.full)
            if chunker.sealed or await self._prover.seal(fetch, chunker):
                return
        raise CacheError(f"{fetch.blob.digest}: could not be sealed")
