"""Prefetcher: turns what the policies of `fusefs.prefetch.policy` say into flights, and runs their errands.

Nothing in here is waited for by a reader, and nothing fails: a hint that comes to nothing costs bytes at most.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from fusefs.fetch.flight import Priority
from fusefs.fetch.headerreader import HeaderReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.flights import Flights
    from fusefs.fetch.foresight import Foresight
    from fusefs.fetch.tasks import Tasks
    from fusefs.values.trace import Trace

_EARLY = 64
"""Reads remembered that came before their blob was open."""


class Prefetcher:
    """Belongs to one fetcher; lives on the event loop, but for `answered`."""

    def __init__(self, flights: Flights, tasks: Tasks) -> None:
        self._flights = flights
        self._tasks = tasks
        self._headers = HeaderReader(flights, tasks)

    def observe(self, fetch: BlobFetch, off: int, size: int) -> None:
        """Somebody asks for [off, off+size) of a blob: want what comes next."""
        chunker, prefetch = fetch.chunker, fetch.prefetch
        if chunker is None or prefetch is None:
            if len(fetch.early) < _EARLY:
                fetch.early.append((off, size))
            return
        if chunker.sealed or chunker.by_whole:
            return
        rate = self._flights.pace.at(trio.current_time())
        ranges = prefetch.observe(off, size, rate, tight=chunker.full is not None)
        if ranges or prefetch.policies.wants_header or prefetch.policies.record_grown:
            self._follow(fetch, chunker, prefetch, off, ranges)

    def answered(self, fetch: BlobFetch, chunker: Chunker, off: int, size: int) -> Callable[[], None] | None:
        """A thread has answered a read of [off, off+size).  For any thread.

        Returns:
            What is to be done about it on the event loop; None, as nearly always, when there is nothing.
        """
        prefetch = fetch.prefetch
        if prefetch is None or chunker.sealed or chunker.by_whole:
            return None
        # As the event loop saw it last: of a link on which nothing has come for a while that is a better guess than 0.
        rate = self._flights.pace.value
        ranges = prefetch.answered(off, size, rate, tight=chunker.full is not None)
        if ranges or prefetch.policies.wants_header or prefetch.policies.record_grown:
            return partial(self._follow_thread, fetch, prefetch, off, ranges)
        return None

    def _follow_thread(self, fetch: BlobFetch, prefetch: Foresight, off: int, ranges: Sequence[range]) -> None:
        # The blob may have been closed or sealed since the thread looked, or opened by another list.
        chunker = fetch.chunker
        if chunker is not None and fetch.prefetch is prefetch and not chunker.sealed:
            self._follow(fetch, chunker, prefetch, off, ranges)

    def _follow(
        self, fetch: BlobFetch, chunker: Chunker, prefetch: Foresight, off: int, ranges: Sequence[range]
    ) -> None:
        for ahead in ranges:
            for index in chunker.missing(ahead.start, len(ahead)):
                self._flights.want(fetch.flights, chunker, index, Priority.READ_AHEAD)
        if prefetch.policies.wants_header:
            self._headers.start(fetch, chunker, prefetch, off)
        if prefetch.policies.record_grown:
            self.keep(fetch)

    def served(self, fetch: BlobFetch, chunker: Chunker, off: int) -> None:
        """What was asked for at `off` is here: perhaps it begins with a header."""
        prefetch = fetch.prefetch
        if prefetch is not None and prefetch.policies.wants_header:
            self._headers.start(fetch, chunker, prefetch, off)

    def opened(self, fetch: BlobFetch, chunker: Chunker) -> None:
        """The blob is open: those who asked for it meanwhile count."""
        early, fetch.early = fetch.early, []
        if not chunker.sealed:
            for off, size in early:
                self.observe(fetch, off, size)

    def keep(self, fetch: BlobFetch) -> None:
        """Keep the record of this load for the next one, if it is worth it, and if the mount goes on."""
        prefetch = fetch.prefetch
        if prefetch is None or fetch.keeping or not self._tasks.may_start:
            return
        trace = prefetch.unsaved_record()
        if trace is not None:
            fetch.keeping = True
            self._tasks.start_soon(self._keep, fetch, prefetch, trace)

    async def _keep(self, fetch: BlobFetch, prefetch: Foresight, trace: Trace) -> None:
        try:
            await self._tasks.threads.run(fetch.keep, trace)
        except Exception as exc:  # it must not end the mount
            self._tasks.report(exc)
        else:
            prefetch.record_saved(trace)
        finally:
            fetch.keeping = False
