"""Bulk: every chunk of a blob, a bounded number of flights at a time."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

from fusefs.errors import FusefsError, NoEvidence

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.flight import Flight, Priority
    from fusefs.fetch.flights import Flights

_ALL_AHEAD = 256 << 20
"""Bytes queued at a time when all of a blob is fetched: enough for every worker, and the queue stays short."""


async def fetch_all(flights: Flights, fetch: BlobFetch, chunker: Chunker, priority: Priority) -> None:
    """Make every chunk of a blob present, a bounded number of flights at a time.

    Raises:
        FusefsError: the first failure; flights that are under way go on.
    """
    under_way: deque[Flight] = deque()
    most = max(2, _ALL_AHEAD // max(1, chunker.chunks[0].size)) if len(chunker.chunks) else 0
    for index in chunker.missing(0, chunker.blob.size):
        if chunker.present(index):
            continue  # arrived, to be proved with the whole; or it has come meanwhile
        under_way.append(flights.want(fetch.flights, chunker, index, priority))
        if len(under_way) >= most:
            await _arrived(flights, fetch, chunker, under_way.popleft(), priority)
    for flight in under_way:
        await _arrived(flights, fetch, chunker, flight, priority)


async def _arrived(flights: Flights, fetch: BlobFetch, chunker: Chunker, flight: Flight, priority: Priority) -> None:
    """Wait for a flight.  One that began for a chunk list that was wrong says nothing about the one of now."""
    while flight.chunker is not chunker:
        with contextlib.suppress(FusefsError):
            await flight.wait()
        if fetch.chunker is not chunker or chunker.present(flight.index):
            return
        flight = flights.want(fetch.flights, chunker, flight.index, priority)
    try:
        await flight.wait()
    except NoEvidence:
        if not chunker.by_whole:
            raise
        # It began when evidence still decided, which nobody needs any more.
        await flights.want(fetch.flights, chunker, flight.index, priority).wait()
