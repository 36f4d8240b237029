"""Sight: what can be said of a blob to who only looks (`ls`, `du`, status), without opening it.

The event loop asks, so nothing here goes to the disk but `look`, which runs in a thread (`fusefs.fetch.lookout`).  Of a
blob that is open the chunk map tells; of another one it is said what was seen last.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.cache.blob import presence
from fusefs.errors import CacheError, NotCached
from fusefs.prefetch.pieces import reads_long_pieces
from fusefs.values.voucher import BOUND, NOBODY, Voucher

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.disk import DiskCache
    from fusefs.values.chunks import Blob, ChunkList, Starts

_FRESH = 0.25
"""Seconds for which nobody looks again: less than the kernel keeps what it was told, so that `du` stays honest."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What lay in the cache of a blob that was not open.

    Attributes:
        sealed: all of it, proved.
        states: of its chunks, a byte each; empty when nothing is known.
        starts: where they begin; empty when that is not needed (`presence.EXACT`) or not known.
        voucher: who stands behind its list.
    """

    sealed: bool
    states: bytes
    starts: Starts
    voucher: Voucher


_NOTHING = Seen(sealed=False, states=b"", starts=range(0), voucher=NOBODY)


class Sight:
    """Of one blob.

    Attributes:
        in_order: the last load of it that was recorded went through it in long pieces; None before `recall`.

    Args:
        blob: digest and size.
        cache: where to look.
        chunker: gives the chunker while the blob is open.
        unlisted: gives the chunks of the blob without a list.
        single: it is its own only chunk.
    """

    def __init__(
        self,
        blob: Blob,
        cache: DiskCache,
        chunker: Callable[[], Chunker | None],
        unlisted: Callable[[], ChunkList],
        *,
        single: bool,
    ) -> None:
        self._chunker = chunker
        self._blob = blob
        self._cache = cache
        self._unlisted = unlisted
        self._single = single
        self._seen = _NOTHING
        self._at = -1e9
        self.in_order: bool | None = None

    @property
    def stale(self) -> bool:
        """Whether somebody has to look, to tell how it is now."""
        chunker = self._chunker()
        if not self._blob.size or (chunker is not None and not _may_be_sealed(chunker)):
            return False
        return time.monotonic() - self._at > _FRESH

    def several_chunks(self) -> None:
        """It is not its own only chunk after all, however small it is."""
        self._single = False

    def look(self) -> None:
        """See what lies in the cache now.  Blocking, but short; for any thread.

        Raises:
            CacheError: there is no descriptor to look with; a little later there may be.
        """
        self._seen = self._look()
        self._at = time.monotonic()

    def recall(self) -> None:
        """See how its last load went.  Blocking, but short; for any thread."""
        self.in_order = reads_long_pieces(self._cache.trace(self._blob))

    def closed(self, chunker: Chunker) -> None:
        """`chunker` is about to be closed; what it knows was seen just now."""
        states = b"" if chunker.sealed else chunker.map.states()
        self._seen = Seen(chunker.sealed, states, chunker.chunks.starts if states else range(0), chunker.voucher)
        self._at = time.monotonic()

    def forget(self) -> None:
        """What was seen does not hold any more."""
        self._seen, self._at = _NOTHING, -1e9

    # Without touching a file

    @property
    def sealed(self) -> bool:
        """Whether all of it is proved, perhaps by another process."""
        chunker = self._chunker()
        if chunker is None:
            return self._seen.sealed
        return chunker.sealed or (_may_be_sealed(chunker) and self._seen.sealed)

    @property
    def voucher(self) -> Voucher:
        """Who stands behind its list."""
        chunker = self._chunker()
        if chunker is not None:
            return chunker.voucher
        return BOUND if self._single else self._seen.voucher

    @property
    def present(self) -> int:
        """Bytes on disk; of more than `presence.EXACT` unequal chunks about so many."""
        chunker = self._chunker()
        if chunker is not None:
            return chunker.present_bytes
        seen = self._seen
        if seen.sealed:
            return self._blob.size
        if len(seen.states) > presence.EXACT:
            return presence.about(self._blob.size, seen.states)
        return presence.bytes_on_disk(self._blob.size, seen.starts, seen.states)

    def presence(self, cells: int, off: int, size: int) -> list[float]:
        """For each of `cells` equal parts of the bytes [off, off+size), about what fraction of it is on disk."""
        chunker, starts, states = self._chunker(), self._seen.starts, self._seen.states
        if chunker is not None:
            starts, states = chunker.chunks.starts, chunker.map.states()
        elif self._seen.sealed:
            return [1.0] * cells
        if len(states) > presence.EXACT:
            whole = self._blob.size
            return presence.fractions(states, cells, (off / whole, (off + size) / whole))
        return presence.overlaps(presence.ranges_on_disk(self._blob.size, starts, states), cells, off, size)

    # In a thread

    def _look(self) -> Seen:
        voucher = BOUND if self._single else self._cache.voucher(self._blob)
        with contextlib.suppress(NotCached):
            if self._cache.get(self._blob.digest).size == self._blob.size:
                return Seen(sealed=True, states=b"", starts=range(0), voucher=voucher)
        states = self._cache.states(self._blob)
        if len(states) > presence.EXACT:
            return Seen(sealed=False, states=states, starts=range(0), voucher=voucher)
        starts = self._starts(len(states)) if states else range(0)
        if len(starts) != len(states):  # of another list
            return Seen(sealed=False, states=b"", starts=range(0), voucher=voucher)
        return Seen(sealed=False, states=states, starts=starts, voucher=voucher)

    def _starts(self, count: int) -> Starts:
        if count == 1:
            return range(0, self._blob.size, self._blob.size)
        pinned = None
        with contextlib.suppress(CacheError):  # no descriptor to look with: `stat` says it a little later
            pinned = self._cache.pinned(self._blob)
        return (pinned[0] if pinned is not None else self._unlisted()).starts


def _may_be_sealed(chunker: Chunker) -> bool:
    """Whether another process may have sealed a blob that is open here."""
    return not chunker.sealed and chunker.complete
