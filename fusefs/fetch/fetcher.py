"""Fetcher: makes chunks present, for whoever asks; nobody asks twice for what is on its way.

Primitives
    A *flight* stands for one chunk on its way.  The *queue* orders flights.  The *dispatcher* task takes the most
    urgent flight, extends it to a span over queued neighbours, takes the chunks' locks, and starts a worker thread.

Invariants
    1. A chunk has at most one flight in this process, and with the chunk's lock at most one fetch in all processes.
    2. The chunk map is the truth.  Whoever wakes looks again; a flight's end is a hint.
    3. Flights belong to the mount's nursery.  When every reader of one is gone before his time, and nobody else wants
       it, it is not begun; a worker that has begun stops between two chunks, or when its source is silent.
    4. An error is told to those who wait now and forgotten.
    5. Prefetch never takes the last workers, so a demand read never waits behind it.
    6. Buffers of running workers stay within half of the memory budget (the spill has the other half).  A chunk that
       is larger than that alone, or that a reader wants while prefetch has the memory, streams through 1 MiB.

Timeline of a cold read
    BlobFile.read → ensure → flights queued (demand) → dispatcher: span, locks → worker thread: per chunk fill, then
    `Landings.add` → unlock, flights land, waiters look again → pread.  `ensure` is one round of it; who
    reads looks again and may ask for another.

Floors, each knowing those below it: flights and tasks; prefetcher, dispatcher; prover; opener; completion, siblings;
claims, backings.

Failure modes
    Another process has the chunk's lock: the flight is parked and polled; it lands when the map says present, and is
    queued again when the lock is free (its holder failed or died).
    Unmount: sources are closed, which ends workers with Cancelled; their flights land with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from fusefs.errors import DigestMismatch, FusefsError, NoEvidence, Superseded
from fusefs.fetch.backings import Backings
from fusefs.fetch.blobfetch import BlobFetch
from fusefs.fetch.claims import Claims
from fusefs.fetch.completion import Completion
from fusefs.fetch.dispatcher import Dispatcher
from fusefs.fetch.flight import Priority
from fusefs.fetch.flights import Flights
from fusefs.fetch.hearsay import Hearsay
from fusefs.fetch.idle import IdleBlobs
from fusefs.fetch.lookout import PATIENCE, Lookout
from fusefs.fetch.opener import Opener
from fusefs.fetch.prefetcher import Prefetcher
from fusefs.fetch.proving import Prover
from fusefs.fetch.rush import Rush
from fusefs.fetch.siblingfetch import SiblingFetch
from fusefs.fetch.spillwatch import SpillWatch
from fusefs.fetch.tasks import Tasks
from fusefs.fetch.usenotes import note_uses
from fusefs.values import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.disk import DiskCache
    from fusefs.fetch.backings import Lent
    from fusefs.fetch.flight import Flight
    from fusefs.fetch.left import Left
    from fusefs.fetch.threads import CacheThreads
    from fusefs.values.chunks import Blob
    from fusefs.values.counters import Counters
    from fusefs.values.digest import Digest
    from fusefs.values.settings import Settings


def _nobody_listens(_blob: Blob) -> None:
    """A pull has no readers."""


_GLANCE = 1.0
"""Seconds between two looks at what is open, and at whether another process has found a list lying."""


class Fetcher:
    """Fetches for all blobs of one mount or pull.  Lives on the event loop; `run` must be running.

    Attributes:
        counters: what happened so far.
        tasks: what runs for it.
        prefetcher: is told of reads, and fetches ahead of them.
        hearsay: what threads have to tell the event loop.
        siblings: is told of small files, and fetches those of the same model ahead.
        timeout: seconds that a reader waits without success before it fails.
        lied: told of a blob by whose chunk list wrong bytes may have been served.
    """

    def __init__(self, cache: DiskCache, settings: Settings, counters: Counters) -> None:
        self.counters = counters
        self.tasks = Tasks()
        self.timeout = settings.timeout
        counters.watch(metrics.BYTES_EVICTED, lambda: cache.quota.evicted)
        self.lied: Callable[[Blob], None] = _nobody_listens
        self._cache = cache
        self._settings = settings
        self._blobs: dict[Digest, BlobFetch] = {}
        self._flights = Flights(self.tasks, self._present)
        self.prefetcher = Prefetcher(self._flights, self.tasks)
        self.hearsay = Hearsay()
        self._dispatcher = Dispatcher(settings, counters, self._flights, self.tasks)
        self._idle = IdleBlobs(self.tasks.threads, cache.quota, settings.timeout)
        self._few = self._idle.most // 4  # of those that may be open most are for readers
        rush = Rush(self._few)
        self._prover = Prover(self._flights, self.tasks, self._idle, self.prefetcher, rush, settings.timeout)
        self._opener = Opener(self.tasks.threads, self._idle, self.prefetcher, self._prover)
        self._spills = SpillWatch(self.tasks.threads, self._opener, self._prover.tend, settings.timeout)
        self._completion = Completion(self._flights, self._opener, self._prover, self._spills, settings.timeout)
        self._backings = Backings(cache, self.tasks, self._flights, self._opener, self._completion)
        self._lookout = Lookout(self.tasks)
        self.siblings = SiblingFetch(
            self._flights, self.tasks, self._opener, self._prover, self._lookout, cache.quota, rush, self.track
        )
        self._claims = Claims(self._flights, self.tasks, self._completion, self._blobs.__getitem__)
        self._closed = False

    def track(self, blob: Blob) -> BlobFetch:
        """What the fetcher knows of `blob`; the same object for the same digest."""
        found = self._blobs.get(blob.digest)
        if found is None:
            found = self._blobs[blob.digest] = BlobFetch(blob, self._cache, self._settings, self._caught_lying)
        return found

    def _all_blobs(self) -> list[BlobFetch]:
        return list(self._blobs.values())

    async def look(self, blobs: Iterable[Blob], patience: float = PATIENCE) -> None:
        """Have it known what the cache has of `blobs`, as far as the disk says so within `patience` seconds."""
        if self.tasks.may_start:
            await self._lookout.look([self.track(blob).sight for blob in blobs], patience)

    def _caught_lying(self, blob: Blob) -> None:
        self.lied(blob)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the work until cancelled."""
        async with self.tasks.running():
            for task in (self._dispatcher.run, self._claims.run, self._watch, self.hearsay.run):
                self.tasks.start_soon(task)
            # Each keeps a blob open while it is on its way.
            for _ in range(max(1, min(self._settings.connections, self._few))):
                self.tasks.start_soon(self.siblings.run)
            self.tasks.start_soon(self._spills.run, self._all_blobs)
            self.tasks.start_soon(note_uses, self.tasks.threads, self._all_blobs)
            task_status.started()

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
        verdicts = await self.tasks.threads.run(lambda: [closed.convicted() for _, closed in left])
        for (fetch, closed), convicted in zip(left, verdicts, strict=True):
            if convicted and fetch.left is closed:
                fetch.convict()

    def close(self) -> None:
        """Close every blob in the cache, after `run` has ended and as soon as no thread uses them.  Idempotent."""
        if not self._closed:
            self._closed = True
            self.tasks.threads.when_idle(self._close)

    def _close(self) -> None:
        for fetch in self._blobs.values():
            for chunker in (fetch.chunker, *fetch.retired):
                if chunker is not None:
                    chunker.close()
            fetch.chunker = None
            fetch.keep_last()
        self._idle.close_detached()

    @property
    def threads(self) -> CacheThreads:
        """Where blocking work of the cache is done."""
        return self.tasks.threads

    @property
    def last_error(self) -> str:
        """What went wrong last that no reader was told; empty when nothing did."""
        return self.tasks.last_error

    @property
    def rate(self) -> float:
        """Bytes per second that arrive verified now."""
        return self._flights.rate.at(trio.current_time())

    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        return self._dispatcher.in_flight

    @property
    def queued(self) -> int:
        """Chunks that are wanted and wait for a worker."""
        return sum(not flight.started for fetch in self._blobs.values() for flight in fetch.flights.values())

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

    # What readers ask for

    async def open(self, fetch: BlobFetch) -> Chunker:
        """The blob's chunker, opened by whoever needs it first.

        Raises:
            FusefsError: no list, no cache, or it is in quarantine.
        """
        return await self._opener.open(fetch)

    async def foresee(self, fetch: BlobFetch) -> None:
        """Have `BlobFetch.whole_first` known, and whatever list there is at hand, before somebody reads.

        Raises:
            FusefsError: it cannot be known now.
        """
        await self._opener.foresee(fetch)

    async def backing(self, fetch: BlobFetch) -> Lent | None:
        """The sealed file of a blob for the kernel to read without us; None when it is not to be had now."""
        return await self._backings.take(fetch) if self.tasks.may_start else None

    async def ensure(self, fetch: BlobFetch, chunker: Chunker, missing: Sequence[int], scope: trio.CancelScope) -> None:
        """One round of making chunks servable that a reader lacks: when it ends, look again.

        Args:
            fetch: the blob.
            chunker: its chunker as it was looked at.
            missing: what lacked then, at least one.
            scope: bounds the wait of the reader; of what comes as a whole all progress moves its deadline.

        Raises:
            FusefsError: why they cannot be had now; the next call tries again.
        """
        chunker.watched = True
        if fetch.siblings and not fetch.flights:
            self.siblings.missed(fetch, chunker)
        if chunker.by_whole:
            await self._prover.whole(fetch, chunker, scope)
            return
        # A flight that others began, perhaps long before this reader came (a prefetch at the end of its patience), may
        # fail of trouble that this reader has not waited out yet: that is a reason to look again, not to fail.
        before = fetch.flights.keys() & missing
        flights = [self._flights.want(fetch.flights, chunker, index, Priority.DEMAND) for index in missing]
        for flight in flights:
            flight.readers += 1
        killed, listed = False, chunker.listed
        try:
            mismatch = await self._landed(flights, chunker, before)
        except Superseded:
            fetch.supersede(chunker)
            return
        except NoEvidence as exc:
            if not (listed and fetch.give_up_evidence(chunker, exc)):
                raise
            return
        except trio.Cancelled:
            killed = trio.current_time() < scope.deadline
            raise
        finally:
            self._flights.leave(flights, killed=killed)
        if mismatch is not None and not await self._opener.relist(fetch, chunker, mismatch):
            raise mismatch

    async def _landed(self, flights: Iterable[Flight], chunker: Chunker, before: set[int]) -> DigestMismatch | None:
        """Wait for flights; the first mismatch among them.

        Raises:
            FusefsError: why another one failed, unless it was on its way `before`.
        """
        for flight in flights:
            try:
                await flight.wait()
            except FusefsError as exc:
                old = exc.temporary or isinstance(exc, NoEvidence) or flight.chunker is not chunker
                if old and flight.index in before:
                    continue
                if not isinstance(exc, DigestMismatch):
                    raise
                return exc
        return None

    async def complete(self, fetch: BlobFetch, priority: Priority = Priority.READ_AHEAD) -> None:
        """Fetch all of a blob and seal it (`pull`, `--fill`).

        Raises:
            FusefsError: why it cannot be had or proved.
        """
        await self._completion.complete(fetch, priority)

    def _present(self, flight: Flight) -> None:
        """A chunk is present."""
        self._prover.tend(self._blobs[flight.blob], flight.chunker)
