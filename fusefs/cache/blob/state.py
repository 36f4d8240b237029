"""BlobState: how far a blob is proved, by whose list, and what may be served of it for that reason.

    before       transition       after
    partial      became_sealed    sealed: the sha256 of the whole matched, and the file has its final name
    sealed       became_partial   partial: the final name is taken away, for a repair or to take a part off the disk
    partial      relisted         the same, by the list that another process has bound meanwhile
    any          bound            the same, by a complete list that the sha256 of the whole has proved
    any          condemn          quarantined: the list lied; there is no way back, the blob is opened anew

`sealing` and `eviction` make the transitions, under the locks that they tell of.  Nobody else writes these attributes;
who opens the blob says once what it may be served by (`serve_by`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.cache.blob.mapfile import ARRIVED, CLAIMED, PRESENT, SERVED
from fusefs.values.voucher import BOUND

if TYPE_CHECKING:
    from fusefs.cache.blob.chunkmap import ChunkMap
    from fusefs.cache.blob.setup import BlobSetup
    from fusefs.values.chunks import ChunkList
    from fusefs.values.voucher import Voucher

PROVED = (PRESENT,)
"""States whose bytes may be read where every chunk is proved by itself."""

_UNLISTED = (PRESENT, ARRIVED, CLAIMED)


class BlobState:
    """Of one blob in one process.

    Attributes:
        map: which chunks are present.
        chunks: the chunk list; of an unlisted one (`ChunkList`) only the whole blob can be proved.
        voucher: who stands behind the list; nobody behind an unlisted one.
        sealed: the whole blob was proved and has its final name.
        bound_only: the word of a registry does not make a list good enough to serve by.
        serve_unproved: ARRIVED chunks may be served (`--unproved=allow`).
        listed: there is a chunk list that decides what may be served.
        by_whole: nothing may be served before the sha256 of the whole blob matched.
        here: states of a chunk that need no fetching.
    """

    listed: bool
    by_whole: bool
    here: tuple[int, ...]

    def __init__(self, setup: BlobSetup, chunk_map: ChunkMap, *, sealed: bool) -> None:
        self.map = chunk_map
        self.chunks = setup.chunks
        self.voucher = setup.voucher
        self.sealed = sealed
        self.bound_only = False
        self.serve_unproved = False
        self._lied = False
        self._follow()

    # Transitions

    def serve_by(self, *, bound_only: bool, unproved: bool) -> None:
        """Who shows the blob says what it may be served by; before the first read."""
        self.bound_only = bound_only
        self.serve_unproved = unproved
        self._follow()

    def became_sealed(self) -> None:
        """The file has its final name."""
        self.sealed = True
        self._follow()

    def became_partial(self) -> None:
        """It has lost it."""
        self.sealed = False
        self._follow()

    def relisted(self, chunks: ChunkList, voucher: Voucher) -> None:
        """Another process has bound this list to the blob."""
        self.chunks, self.voucher = chunks, voucher
        self._follow()

    def bound(self, chunks: ChunkList) -> None:
        """The sha256 of the whole matched, with this complete list."""
        self.chunks, self.voucher = chunks, BOUND
        self._follow()

    def condemn(self) -> None:
        """The list lied."""
        self._lied = True

    def _follow(self) -> None:
        """Say what follows from the rest: once a transition, because each read asks for it several times.

        Where the whole decides, what has arrived is here; of an unlisted blob a claim is as good.  Not if it is served
        before that: what another boot has marked may be zeros by now, so it is hashed against its slot.
        """
        self.listed = self.voucher.decides(bound_only=self.bound_only)
        self.by_whole = not self.listed and (self.sealed or not self.serve_unproved)
        if self.chunks.complete or self.listed:
            self.here = PROVED
        else:
            self.here = SERVED if self.serve_unproved or not self.chunks.unlisted else _UNLISTED

    # What may be served

    @property
    def quarantined(self) -> bool:
        """Whether the list lied, as this or another process has found: nothing is served any more."""
        return self._lied or self.map.condemned

    @property
    def taken(self) -> int:
        """The state of a chunk whose bytes are what its list, or its slot, says.

        Of an evidenced list only what was accepted has a slot.
        """
        return ARRIVED if self.chunks.unlisted else PRESENT
