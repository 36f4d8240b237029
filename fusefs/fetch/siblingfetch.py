"""SiblingFetch: fetches the small files of a model ahead of who reads them one by one.

Which ones is the policy's to say (`fusefs.prefetch.siblings`).  Nobody waits for it and nothing fails: what cannot be
had now is fetched when it is read.

A file costs little to fetch and much to keep books on, so what concerns all of them is done once for many, and what can
wait waits until none is wanted (`fusefs.fetch.rush`).
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import trio

from fusefs.errors import FusefsError
from fusefs.fetch.flight import Priority
from fusefs.prefetch.siblings import MOST_AHEAD, SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.space.quota import Quota
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.flights import Flights
    from fusefs.fetch.lookout import Lookout
    from fusefs.fetch.opener import Opener
    from fusefs.fetch.proving import Prover
    from fusefs.fetch.rush import Rush
    from fusefs.fetch.tasks import Tasks
    from fusefs.prefetch.siblings import Siblings
    from fusefs.values.chunks import Blob

log = logging.getLogger(__name__)

_OPENING = 2
"""Blobs that are opened ahead at a time: half of the threads that open, so that a reader always finds one."""

_UNASKED = SMALL
"""Bytes that are fetched before the room in the cache is looked at again: a part of what there was."""


class SiblingFetch:
    """Of one fetcher; lives on the event loop."""

    def __init__(
        self,
        flights: Flights,
        tasks: Tasks,
        opener: Opener,
        prover: Prover,
        lookout: Lookout,
        quota: Quota,
        rush: Rush,
        track: Callable[[Blob], BlobFetch],
    ) -> None:
        self._flights = flights
        self._tasks = tasks
        self._opener = opener
        self._prover = prover
        self._lookout = lookout
        self._quota = quota
        self._rush = rush
        self._looking_for_room = trio.Lock()
        self._room = 0  # bytes that may be fetched before somebody looks for room again
        self._track = track
        self._opening = trio.CapacityLimiter(_OPENING)
        self._send, self._wanted = trio.open_memory_channel["BlobFetch"](math.inf)
        self._last: Siblings | None = None

    def missed(self, fetch: BlobFetch, chunker: Chunker) -> None:
        """Somebody waits for a blob that is not here, nor on its way."""
        model = self._model(fetch)
        if model is not None and chunker.full is None:
            self._last = model
            self._want(model.missed(fetch.blob))

    def opened(self, fetch: BlobFetch) -> None:
        """Somebody opens the file of a blob."""
        for model in fetch.siblings:
            self._want(model.opened(fetch.blob))

    def _model(self, fetch: BlobFetch) -> Siblings | None:
        """Which model is read.  A blob of several (a license) says so only when another of that model was read last."""
        if len(fetch.siblings) == 1:
            return fetch.siblings[0]
        return self._last if self._last in fetch.siblings else None

    def _want(self, blobs: list[Blob]) -> None:
        fetches = list(map(self._track, blobs))
        if self._tasks.may_start:
            self._lookout.begin([fetch.sight for fetch in fetches])  # one look for all of them
        for fetch in fetches:
            self._send.send_nowait(fetch)

    async def run(self) -> None:
        """Fetch what is wanted, one after the other, until cancelled; several may run."""
        async for fetch in self._wanted:
            fetch.use.hold()
            try:
                with self._rush.on():
                    if not await self._fetched(fetch):
                        self._forget()
            except FusefsError as exc:
                log.debug("%s was not fetched ahead: %s", fetch.blob.digest.short, exc)
                self._forget()
            except Exception as exc:  # it must not end the mount
                self._tasks.report(exc)
            finally:
                fetch.use.let_go()

    async def _fetched(self, fetch: BlobFetch) -> bool:
        """Have a blob here; False when there is no room to spare.

        Raises:
            FusefsError: why it cannot be had.
        """
        await self._lookout.look([fetch.sight])
        if fetch.state != "absent":
            return True
        if not await self._has_room(fetch.blob.size):
            return False
        async with self._opening:
            chunker = await self._opener.open(fetch)
        if chunker.full is not None:
            return False
        if chunker.by_whole:  # named by git's hash, for example
            with trio.CancelScope() as scope:
                await self._prover.whole(fetch, chunker, scope)
            return not scope.cancelled_caught
        for index in chunker.missing(0, fetch.blob.size):
            await self._flights.want(fetch.flights, chunker, index, Priority.READ_AHEAD).wait()
        return True

    async def _has_room(self, size: int) -> bool:
        """What nobody has asked for makes no room at the cost of what somebody has read."""
        async with self._looking_for_room:
            if size > self._room:
                self._room = 0
                if not await self._tasks.threads.run(self._quota.has_room, MOST_AHEAD):
                    return False
                self._room = _UNASKED
            self._room -= size
            return True

    def _forget(self) -> None:
        """The rest that was wanted would fare no better."""
        while self._wanted.statistics().current_buffer_used:
            self._wanted.receive_nowait()
