"""BlobFile: one blob as a file of its final size.  Ensure, then pread: the one way that bytes come up."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from functools import partial
from typing import TYPE_CHECKING

import trio

from fusefs.errors import ChunkGone, FusefsError, ReadTimeout
from fusefs.fetch.flight import Priority
from fusefs.fetch.lookout import PATIENCE
from fusefs.prefetch.streams import ReadAhead
from fusefs.system.files import advise
from fusefs.values import metrics
from fusefs.values.settings import MIB
from fusefs.vfs.answer import Answered
from fusefs.vfs.secondcopy import SecondCopy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.fetch.backings import Lent
    from fusefs.fetch.blobfetch import BlobFetch
    from fusefs.fetch.fetcher import Fetcher
    from fusefs.values.chunks import Blob
    from fusefs.vfs.answer import Send

_PAGES_AHEAD = 32 * MIB
"""Bytes of a sealed file that the disk is asked for ahead of a sequential reader at most."""

_REMEMBERED = 64
"""Ranges behind a reader that are kept in mind until he is known to read in order."""

log = logging.getLogger(__name__)


class BlobFile:
    """One for each distinct blob of a mount, shared by all paths that show it.

    Attributes:
        blob: digest and size.
    """

    def __init__(self, fetcher: Fetcher, fetch: BlobFetch, *, fill: bool = False) -> None:
        self.blob: Blob = fetch.blob
        self._fetcher = fetcher
        self._prefetcher = fetcher.prefetcher
        self._fetch = fetch
        self._fill = fill
        self._filling = False
        self._pages = ReadAhead(fetch.blob.size, _PAGES_AHEAD)
        self._second = SecondCopy(fetch.blob.size)
        self._pages_lock = threading.Lock()
        self._ahead: list[range] = []
        self._behind: list[range] = []
        self._advising = False
        self._followed = False  # somebody has read it in order

    async def read(self, off: int, size: int) -> bytes | bytearray | memoryview:
        """Bytes [off, off+size), clipped to the end of the file; never fewer (P2).  Good until the next read.

        Raises:
            FusefsError: why they cannot be had now.
        """
        size = min(size, self.blob.size - off)
        if size <= 0:
            return b""
        chunker = self._fetch.chunker
        if chunker is None or chunker.quarantined:
            self._prefetcher.observe(self._fetch, off, size)
            return await self._wait(off, size)
        # Looked at before the map is: what is evicted after that is noticed by the number.
        evictions = chunker.usage.evictions
        covering = chunker.chunks.covering(off, size)
        missing = chunker.lacking(covering)
        if missing:
            self._prefetcher.observe(self._fetch, off, size)
            return await self._wait(off, size, chunker, missing)
        if chunker.sealed:
            if self._noted(off, size):
                self._advise(chunker)
        else:
            self._prefetcher.observe(self._fetch, off, size)
        data = await self._pread(chunker, off, size, covering)
        if data is None or chunker.usage.evictions != evictions:
            return await self._wait(off, size)
        return data

    def answer(self, off: int, size: int, lies: int, buffer: memoryview, send: Send) -> Answered:
        """Give `send` the bytes [off, off+size) if they are here and `lies` lists were wrong.

        For any thread; waits for nothing.  `buffer` has room for them, and is the caller's.
        """
        fetch = self._fetch
        held = off, off + size
        # Before the chunker is looked at: who closes an idle blob takes its chunker away and then looks here.
        fetch.readers.append(held)
        try:
            chunker = fetch.chunker
            if chunker is None or chunker.quarantined:
                return Answered.ABSENT
            covering = chunker.chunks.covering(off, size)
            evictions = chunker.usage.evictions  # before the map is looked at
            if chunker.lacking(covering):
                return Answered.ABSENT

            def still_right() -> bool:
                return chunker.usage.evictions == evictions and fetch.lies == lies

            if not chunker.answer(off, size, covering, buffer, still_right, send):
                return Answered.ELSEWHERE
        finally:
            fetch.readers.remove(held)
        self._served(chunker, off, size)
        return Answered.SENT

    def _served(self, chunker: Chunker, off: int, size: int) -> None:
        """A thread has answered a read: what follows from it, if anything does, is done on the event loop."""
        if not chunker.sealed:
            if (to_do := self._prefetcher.answered(self._fetch, chunker, off, size)) is not None:
                self._fetcher.hearsay.tell(to_do)
            return
        if self._noted(off, size):
            self._fetcher.hearsay.tell(partial(self._advise, chunker))

    def _noted(self, off: int, size: int) -> bool:
        """A read of the sealed file is answered: whether that gives something to advise the kernel of."""
        with self._pages_lock:  # other threads see reads, too
            ahead, behind = self._pages.observe(off, size, math.inf), self._second.read(off, size)
            if ahead:
                self._followed = True
                self._ahead.append(ahead)
            self._behind += behind
            if not self._followed:
                # A short file, or pages here and there: who reads them with O_DIRECT has no other copy.
                del self._behind[:-_REMEMBERED]
                return False
        return bool(ahead or behind)

    async def arrive(self, off: int, size: int) -> None:
        """Wait until the bytes [off, off+size) are here, clipped to the end of the file.

        Raises:
            FusefsError: as `read`.
        """
        size = min(size, self.blob.size - off)
        if size <= 0:
            return
        fetch, fetcher = self._fetch, self._fetcher
        self._prefetcher.observe(fetch, off, size)
        fetcher.counters.add(metrics.READS_WAITED)
        with trio.move_on_after(fetcher.timeout) as scope, fetch.reading(off, off + size, scope):
            await self._arrived(off, size, scope)
            return
        raise self._too_late(off, size)

    async def _wait(
        self, off: int, size: int, chunker: Chunker | None = None, missing: Sequence[int] = ()
    ) -> bytes | bytearray | memoryview:
        """The same when it takes the network or the disk: nothing of it is evicted meanwhile.

        Raises:
            ReadTimeout: `--timeout` seconds passed (for what comes as a whole: passed without progress).
        """
        fetch, fetcher = self._fetch, self._fetcher
        fetcher.counters.add(metrics.READS_WAITED)
        with trio.move_on_after(fetcher.timeout) as scope, fetch.reading(off, off + size, scope):
            while True:
                chunker, covering, evictions = await self._arrived(off, size, scope, chunker, missing)
                missing = ()
                data = await self._pread(chunker, off, size, covering)
                if data is not None and chunker.usage.evictions == evictions:
                    return data
                # All of it was here, and left before it was read: the time to wait begins anew.
                scope.deadline = trio.current_time() + fetcher.timeout
        raise self._too_late(off, size)

    async def _arrived(
        self, off: int, size: int, scope: trio.CancelScope, chunker: Chunker | None = None, missing: Sequence[int] = ()
    ) -> tuple[Chunker, range, int]:
        """Wait until nothing of a range is missing, with its chunks held; gives also the number of evictions before.

        The one loop that looks again, after every wait.  The first look was taken where `missing` says what lacks.
        """
        fetch, fetcher = self._fetch, self._fetcher
        while True:
            if chunker is not None and missing:
                await fetcher.ensure(fetch, chunker, missing, scope)
            chunker = await fetcher.open(fetch)
            evictions = chunker.usage.evictions
            covering = chunker.chunks.covering(off, size)
            missing = chunker.lacking(covering)
            if not missing:
                self._prefetcher.served(fetch, chunker, off)
                return chunker, covering, evictions

    def _too_late(self, off: int, size: int) -> ReadTimeout:
        took = f"took over {self._fetcher.timeout:g} s"
        return ReadTimeout(f"{self.blob.digest.short}…: bytes {off}-{off + size - 1} {took}")

    async def _pread(
        self, chunker: Chunker, off: int, size: int, covering: range
    ) -> bytes | bytearray | memoryview | None:
        """Bytes that are not missing; None when they lived in memory and others needed it."""
        data = chunker.pread_nowait(off, size, covering)
        if data is not None:
            return data
        with self._fetch.reading(off, off + size), contextlib.suppress(ChunkGone):
            return await trio.to_thread.run_sync(chunker.pread, off, size)
        return None

    def _advise(self, chunker: Chunker) -> None:
        """Have the disk read ahead of who reads a sealed file in order, and keep one copy of it in memory, not two."""
        if self._fetch.chunker is chunker and not self._advising:  # a thread may have asked for it a moment ago
            self._advising = True
            self._fetch.use.hold()
            self._fetcher.tasks.start_soon(self._advised, chunker)

    async def _advised(self, chunker: Chunker) -> None:
        # One after the other, and what is to come before what has been: else the advice of a moment ago would bring
        # back what was let go of since.
        try:
            while self._ahead or self._behind:
                with self._pages_lock:
                    ahead = [part for pages in self._ahead for part in self._second.lacking(pages)]
                    behind = self._behind
                    self._ahead, self._behind = [], []
                await self._fetcher.tasks.threads.run(advise, chunker.fd, ahead, behind)
        finally:
            self._advising = False
            self._fetch.use.let_go()

    async def is_read_in_order(self) -> bool:
        """Whether the last load of it that was recorded went through it in long pieces; ends soon (P6)."""
        sight = self._fetch.sight
        if sight.in_order is None and not sight.sealed:
            with trio.move_on_after(PATIENCE):
                await self._fetcher.tasks.threads.run_look(sight.recall)
        return bool(sight.in_order)

    def open(self) -> None:
        """Somebody opened the file; with `--fill` the rest of it follows, once."""
        self._fetch.use.handles += 1
        self._fetcher.siblings.opened(self._fetch)
        if self._fill and not self._filling and self.state != "sealed":
            self._filling = True
            self._fetcher.tasks.start_soon(self._fill_up)

    async def backing(self) -> Lent | None:
        """The sealed file, for the kernel to read without us; None when it was not proved in this boot."""
        return await self._fetcher.backing(self._fetch)

    def release(self) -> None:
        """Somebody closed the file.  What it caused to be fetched is wanted anyway."""
        self._fetch.use.handles -= 1
        self._prefetcher.keep(self._fetch)

    async def _fill_up(self) -> None:
        try:
            with self._fetch.wanted_whole():
                await self._fetcher.complete(self._fetch, Priority.FILL)
        except FusefsError as exc:
            self._fetcher.tasks.report(exc)
        finally:
            self._filling = False  # the next open tries again

    @property
    def state(self) -> str:
        """`absent`, `partial`, `sealed`, `quarantined` or `unproved`; without touching the network."""
        return self._fetch.state

    @property
    def proof(self) -> str:
        """Who stands behind the chunk list, as `fusefs.values.voucher` says it."""
        return self._fetch.proof

    @property
    def lies(self) -> int:
        """How many lists by which it was served have turned out to be wrong."""
        return self._fetch.lies

    @property
    def present(self) -> int:
        """Bytes on disk."""
        return self._fetch.present

    def presence(self, cells: int, off: int, size: int) -> list[float]:
        """For each of `cells` equal parts of the bytes [off, off+size), the fraction of it that is on disk."""
        return self._fetch.presence(cells, off, size)
