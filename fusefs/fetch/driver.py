"""Foresight: turns what the policies of `fusefs.prefetch.policy` say into flights, and runs their errands.

Nothing in here is waited for by a reader, and nothing fails: a hint that comes to nothing costs bytes at most.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from fusefs.fetch.flight import Priority
from fusefs.fetch.headerreader import HeaderReader
from fusefs.prefetch.policy import Prefetch

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.disk import DiskCache
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.values.settings import Settings
    from fusefs.values.trace import Start

_EARLY = 64
"""Reads remembered that came before their blob was open."""


_AHEAD = 4
"""This part of the cache's limit is fetched ahead of a reader at most."""

_COLD = 10
"""A load begins cold when less than this part of the blob is on disk."""


def prefetch_of(chunker: Chunker, cache: DiskCache, settings: Settings) -> Prefetch:
    """The policies for a blob that was just opened.  Blocking, but short."""
    cold = not chunker.sealed and _COLD * chunker.present_bytes < chunker.blob.size
    kept = cache.start(chunker.blob) if cold else None
    # What was fetched ahead must not make room for what is fetched further ahead.
    most = min(settings.readahead_max, (settings.cache_size or math.inf) // _AHEAD)
    return Prefetch(chunker.chunks, int(most), kept=kept, cold=cold)


class Foresight:
    """Belongs to one fetcher; lives on the event loop."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._headers = HeaderReader(fetcher)

    def observe(self, fetch: BlobFetch, off: int, size: int) -> None:
        """Somebody asks for [off, off+size) of a blob: want what comes next."""
        chunker, prefetch = fetch.chunker, fetch.prefetch
        if chunker is None or prefetch is None:
            if len(fetch.early) < _EARLY:
                fetch.early.append((off, size))
            return
        if chunker.sealed or chunker.by_whole:
            return
        for ahead in prefetch.observe(off, size, self._fetcher.rate, tight=chunker.full is not None):
            for index in chunker.missing(ahead.start, len(ahead)):
                self._fetcher.want(fetch, chunker, index, Priority.READ_AHEAD)
        if prefetch.wants_header:
            self._headers.start(fetch, chunker, prefetch, off)
        if prefetch.record_grown:
            self.keep(fetch)

    def served(self, fetch: BlobFetch, chunker: Chunker, off: int) -> None:
        """What was asked for at `off` is here: perhaps it begins with a header."""
        prefetch = fetch.prefetch
        if prefetch is not None and prefetch.wants_header:
            self._headers.start(fetch, chunker, prefetch, off)

    def opened(self, fetch: BlobFetch, chunker: Chunker) -> None:
        """The blob is open: those who asked for it meanwhile count."""
        early, fetch.early = fetch.early, []
        if not chunker.sealed:
            for off, size in early:
                self.observe(fetch, off, size)

    def keep(self, fetch: BlobFetch) -> None:
        """Keep the record of this load for the next one, if it is worth it."""
        prefetch = fetch.prefetch
        if prefetch is None or fetch.keeping:
            return
        start = prefetch.unsaved_record()
        if start is not None:
            fetch.keeping = True
            self._fetcher.start_soon(partial(self._keep, fetch, prefetch, start))

    async def _keep(self, fetch: BlobFetch, prefetch: Prefetch, start: Start) -> None:
        try:
            await self._fetcher.threads.run(fetch.keep, start)
        except Exception as exc:  # it must not end the mount
            self._fetcher.report(exc)
        else:
            prefetch.record_saved(start)
        finally:
            fetch.keeping = False
