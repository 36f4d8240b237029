"""Completion: all of a blob, fetched and sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from fusefs.cache.blob.writeback import waits
from fusefs.errors import CacheError, DigestMismatch, NoEvidence, ReadTimeout, Superseded
from fusefs.fetch.bulk import fetch_all
from fusefs.fetch.flight import Priority

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.flights import Flights
    from fusefs.fetch.opener import Opener
    from fusefs.fetch.proving import Prover
    from fusefs.fetch.spillwatch import SpillWatch

_SEAL_TRIES = 3
"""Rounds of fetching and sealing: a chunk may rot, or a list turn out to lie, between the two."""


class Completion:
    """Completes the blobs of one fetcher."""

    def __init__(self, flights: Flights, opener: Opener, prover: Prover, spills: SpillWatch, timeout: float) -> None:
        self._flights = flights
        self._opener = opener
        self._prover = prover
        self._spills = spills
        self._timeout = timeout

    async def complete(self, fetch: BlobFetch, priority: Priority = Priority.READ_AHEAD) -> None:
        """Fetch all of a blob and seal it (`pull`, `--fill`).

        Raises:
            FusefsError: why it cannot be had or proved.
        """
        with fetch.use.lasting(), fetch.flights.wanted_entirely():
            for _ in range(_SEAL_TRIES):
                chunker = await self._opener.open(fetch)
                try:
                    if not await self._all(fetch, chunker, priority):
                        continue
                    if not chunker.complete and waits(chunker):
                        await self._spills.now(fetch)
                        chunker = await self._opener.open(fetch)
                    if chunker.sealed or await self._prover.seal(fetch, chunker):
                        return
                except Superseded:
                    fetch.supersede(chunker)
        raise CacheError(f"{fetch.blob.digest}: could not be sealed")

    async def _all(self, fetch: BlobFetch, chunker: Chunker, priority: Priority) -> bool:
        """Have all of a blob; False when it has started again with another chunk list, or only the whole proves it."""
        # With `--unproved allow`, too, nothing tells a source's wrong bytes before all of it is here.
        if chunker.by_whole or chunker.chunks.unlisted:
            with trio.CancelScope() as scope:
                await self._prover.whole(fetch, chunker, scope)
            if scope.cancelled_caught:
                raise ReadTimeout(f"{fetch.blob.digest}: no progress for {self._timeout:g} s")
            return fetch.chunker is chunker
        try:
            await fetch_all(self._flights, fetch, chunker, priority)
        except DigestMismatch as exc:
            mismatch = exc
        except NoEvidence as exc:
            if not fetch.give_up_evidence(chunker, exc):
                raise
            return False
        else:
            return fetch.chunker is chunker
        if not await self._opener.relist(fetch, chunker, mismatch):
            raise mismatch
        return False
