"""SpillWatch: has what the disk would not take written as soon as there is room again (P8).

Nobody announces that, so it is tried now and then: soon after the disk has taken another chunk of the blob, else ever
more seldom.  A blob that was opened when the disk had no room even for its map lives in memory alone; it is opened
again, and what it has is handed over.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from fusefs.cache.blob.writeback import lives_in_memory, waits, write_back
from fusefs.errors import CacheFull, FusefsError
from fusefs.fetch.flight import again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.opener import Opener
    from fusefs.fetch.threads import CacheThreads

log = logging.getLogger(__name__)

_LOOK = 0.25
"""Seconds between two looks at whether something waits."""

_TRY = (0.5, 30.0)
"""Seconds between two tries of a disk that takes nothing: at first, and at most."""

_HELD = (0.005, 0.25)
"""Seconds between two tries of a chunk that another process has locked: at first, and at most."""


class SpillWatch:
    """Of one fetcher; lives on the event loop."""

    def __init__(
        self, threads: CacheThreads, opener: Opener, written: Callable[[BlobFetch, Chunker], None], timeout: float
    ) -> None:
        """`written` is told of each blob of which something has reached the disk."""
        self._threads = threads
        self._opener = opener
        self._written = written
        self._timeout = timeout

    async def run(self, blobs: Callable[[], Iterable[BlobFetch]]) -> None:
        """Look after `blobs` until cancelled."""
        pause, due = _TRY[0], 0.0
        while True:
            await trio.sleep(_LOOK)
            waiting = [fetch for fetch in blobs() if fetch.chunker is not None and waits(fetch.chunker)]
            if not waiting:
                pause, due = _TRY[0], 0.0
                continue
            takes_some = any(fetch.chunker is not None and fetch.chunker.full is None for fetch in waiting)
            if not takes_some and trio.current_time() < due:
                continue
            try:
                for fetch in waiting:
                    await self._once(fetch)
            except FusefsError as exc:  # said when it began, and of what is broken the readers hear
                log.debug("What waits in memory cannot be written yet: %s", exc)
                due = trio.current_time() + pause
                pause = min(2 * pause, _TRY[1])
            else:
                pause, due = _TRY[0], 0.0

    async def now(self, fetch: BlobFetch) -> None:
        """Have all of a blob on the disk that is in memory alone, for whoever wants the blob sealed.

        Raises:
            CacheFull: the disk still takes no more.
            CacheError: it is broken, or another process has had a chunk for too long.
        """
        deadline = trio.current_time() + self._timeout
        pause, longest = _HELD
        while not await self._once(fetch):
            if trio.current_time() >= deadline:
                raise CacheFull(f"{fetch.blob.digest}: another process has a part of it locked, and does not write it")
            await trio.sleep(pause)
            pause = min(2 * pause, longest)

    async def _once(self, fetch: BlobFetch) -> bool:
        """Try it; False when some of it is on its way elsewhere."""
        with fetch.use.lasting():
            chunker = fetch.chunker
            if chunker is not None and lives_in_memory(chunker):
                if fetch.flights:
                    return False  # they bring more of it to the chunker that they know
                chunker = await self._opener.reopen(fetch, chunker)
            if chunker is None or not waits(chunker):
                return True
            try:
                return await self._threads.run_long(write_back, chunker)
            except CacheFull as exc:
                raise again(exc) from exc
            finally:
                if fetch.chunker is chunker:
                    self._written(fetch, chunker)
