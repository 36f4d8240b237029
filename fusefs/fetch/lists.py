"""Lists: the source whose chunk list is used, and its list.  Blocking.

Only those are asked whose word counts: stores, and the registry in the name.  A mirror gives bytes, not truth: with a
list of its own that fits bytes of its own it could have anything served until the whole blob is proved.

A source in trouble is asked again rather than passed over for one that keeps no list: to take the blob unproved instead
would let a fault, or whoever causes it, choose the weaker check.  With several sources that has an end: what the last
of them, the registry of the name, can do without its mirrors must not fail because of them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fusefs.errors import Cancelled, ChunkListTooFine, FusefsError, HostResting, InvalidInput, NotFound
from fusefs.sources.failover import block

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.sources.bound import BoundSource
    from fusefs.sources.failover import Failover, Turns
    from fusefs.values.chunks import Blob, ChunkList

    Found = tuple[ChunkList, BoundSource]

log = logging.getLogger(__name__)

_SECOND_BEST = 5.0
"""Seconds for a source in trouble to come back with its list, when the blob can be had without one."""


def find_list(
    sources: Failover,
    blob: Blob,
    fits: Callable[[ChunkList], bool] = lambda _: True,
    *,
    whole_will_do: bool = False,
) -> Found | None:
    """The first chunk list of `blob` that `fits`, and whose it is; None when nobody whose word counts keeps one.

    Args:
        sources: of which those are asked whose word counts.
        blob: of which.
        fits: whether a list is wanted.
        whole_will_do: others have the bytes, and without a list nothing is served before the whole is proved: trouble
            is waited out for a short while only.

    Raises:
        SourceError, InvalidInput: no list, and not for lack of one.
    """
    asked = sources.that_decide()
    patience, short = asked.patience(), asked.patience(_SECOND_BEST, 0.25)
    search = _Search(blob, fits, several=patience is not None)
    turns = asked.turns(blob.digest, search.failed)
    while True:
        found = search.ask_all(turns)
        if found is not None or not turns.errors:
            return found
        second_best = search.none or whole_will_do
        try:
            turns.pause(short if second_best else patience)
        except Cancelled:
            raise
        except FusefsError:
            if second_best and short is not None:
                return None
            raise


class _Search:
    """For the chunk list of one blob.

    Attributes:
        none: the last source that was asked keeps no list.
    """

    def __init__(self, blob: Blob, fits: Callable[[ChunkList], bool], *, several: bool) -> None:
        self.none = False
        self._blob = blob
        self._fits = fits
        self._several = several
        self._said: set[str] = set()

    def ask_all(self, turns: Turns) -> Found | None:
        """One round."""
        for source in turns.round():
            try:
                chunks = self._ask(source)
            except Cancelled:
                raise
            except FusefsError as exc:
                turns.failed(exc)
            else:
                if chunks is not None:
                    return chunks, source
        return None

    def _ask(self, source: BoundSource) -> ChunkList | None:
        """The list of one source, if it has one that fits.

        Raises:
            FusefsError: no answer, or one that cannot be used.
        """
        self.none = False
        try:
            chunks = source.chunk_list(self._blob)
        except ChunkListTooFine as exc:
            self._say(logging.WARNING, f"{self._of(source)}: {exc}; it is not used, see --unproved")
            self.none = True
            return None
        except NotFound as exc:
            log.debug("%s: %s", self._of(source), exc)
            return None
        self.none = chunks is None
        return chunks if chunks is not None and self._fits(chunks) else None

    def failed(self, source: BoundSource, exc: FusefsError, last: bool) -> None:  # as Told
        """A source could not help."""
        if not isinstance(exc, HostResting):
            # Trouble of a source that others stand in for is told by its circuit and by status.
            quiet = self._several and exc.temporary
            self._say(logging.INFO if quiet else logging.WARNING, f"{self._of(source)}: {exc}")
        if isinstance(exc, InvalidInput) and not last:
            block(source, self._blob.digest, "a chunk list that is none")

    def _of(self, source: BoundSource) -> str:
        return f"{source.label}: chunk list of {self._blob.digest.short}"

    def _say(self, level: int, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.log(level, "%s", text)
