"""Claims: a chunk that was marked in an earlier boot is hashed again before it is served; no network is needed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fusefs.cache.blob.sealing import unseal
from fusefs.fetch.flight import Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.completion import Completion
    from fusefs.fetch.flight import Flight
    from fusefs.fetch.flights import Flights
    from fusefs.fetch.tasks import Tasks
    from fusefs.values.digest import Digest

log = logging.getLogger(__name__)


class Claims:
    """Hashes the claims of one fetcher, each in a task and a thread of its own."""

    def __init__(
        self, flights: Flights, tasks: Tasks, completion: Completion, blob_of: Callable[[Digest], BlobFetch]
    ) -> None:
        self._flights = flights
        self._tasks = tasks
        self._completion = completion
        self._blob_of = blob_of

    async def run(self) -> None:
        """Take flights whose chunk is claimed until cancelled."""
        async for flight in self._flights.claims:
            flight.of.use.hold()
            self._tasks.start_soon(self._prove, flight)

    async def _prove(self, flight: Flight) -> None:
        """Land `flight` when its chunk turns out to be right, else queue it to be fetched."""
        try:
            right = await self._holds(flight)
        except Exception as exc:  # whatever it is, those who wait must hear of it
            self._flights.land(flight, exc)
            return
        finally:
            flight.of.use.let_go()
        if right is None:
            self._flights.park(flight)
        elif right:
            self._flights.land(flight)
        else:
            # Not a warning: after a power cut, or with a lost map, most claims are of what was never there.
            chunk = flight.chunker.chunks[flight.index]
            log.info("%s chunk %s is not on disk as claimed and is fetched", flight.blob, chunk)
            self._flights.requeue(flight)

    async def _holds(self, flight: Flight) -> bool | None:
        """Whether the chunk is on disk as claimed; None while another process has its lock."""
        chunker, index = flight.chunker, flight.index
        if not chunker.try_lock(index):
            return None
        try:
            right = await self._tasks.threads.run(chunker.prove, index)
            if not right and chunker.sealed:
                await self._tasks.threads.run(unseal, chunker)
                self._tasks.start_soon(self._mend, self._blob_of(flight.blob))
            return right
        finally:
            chunker.unlock(index)

    async def _mend(self, fetch: BlobFetch) -> None:
        """Complete and seal again a blob that we unsealed: other processes, to which it is sealed, will not do it."""
        try:
            with fetch.wanted_whole():
                await self._completion.complete(fetch, Priority.FILL)
        except Exception as exc:
            self._tasks.report(exc)
