"""Listing: which source's chunk list is used.  Blocking.

Only those are asked whose word counts: stores, and the registry in the name.  A mirror gives bytes, not truth: with a
list of its own that fits bytes of its own it could have anything served until the whole blob is proved.

A source in trouble is asked again rather than passed over for one that keeps no list: to take the blob unproved instead
would let a fault, or whoever causes it, choose the weaker check.  With several sources that has an end: what the last
of them, the registry of the name, can do without its mirrors must not fail because of them.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from fusefs.errors import Cancelled, ChunkListTooFine, FusefsError, HostResting, InvalidInput, NotFound
from fusefs.fetch.rounds import asked_twice, decisive, patience_of, standing_of, usable, voucher_of
from fusefs.values.voucher import Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusefs.fetch.worker import Origin
    from fusefs.values.chunks import Blob, ChunkList
    from fusefs.values.digest import Digest

    Found = tuple[ChunkList, Origin]

log = logging.getLogger(__name__)

_SECOND_BEST = 5.0
"""Seconds for a source in trouble to come back with its list, when the blob can be had without one."""


def find_list(
    origins: Sequence[Origin],
    blob: Blob,
    fits: Callable[[ChunkList], bool] = lambda _: True,
    *,
    whole_will_do: bool = False,
) -> Found | None:
    """The first chunk list of `blob` that `fits`, and whose it is; None when nobody whose word counts keeps one.

    Args:
        origins: who may be asked, best first.
        blob: of which.
        fits: whether a list is wanted.
        whole_will_do: others have the bytes, and without a list nothing is served before the whole is proved: trouble
            is waited out for a short while only.

    Raises:
        SourceError, InvalidInput: no list, and not for lack of one.
    """
    origins = [origin for origin in origins if voucher_of(origin.source).proof > Proof.NONE]
    sources = [origin.source for origin in origins]
    patience, short = patience_of(sources), patience_of(sources, _SECOND_BEST, 0.25)
    search = _Search(blob, fits, several=patience is not None)
    while True:
        found = search.ask_all(origins)
        if found is not None or not search.errors:
            return found
        failure = decisive(search.errors)
        second_best = search.none or whole_will_do
        waiting = short if second_best else patience
        if waiting is None:
            raise failure
        try:
            waiting.pause(failure)
        except Cancelled:
            raise
        except FusefsError:
            if second_best:
                return None
            raise


class _Search:
    """For the chunk list of one blob.

    Attributes:
        errors: of the last round, in the order of the sources.
        none: the last source that was asked keeps no list.
    """

    def __init__(self, blob: Blob, fits: Callable[[ChunkList], bool], *, several: bool) -> None:
        self.errors: list[FusefsError] = []
        self.none = False
        self._blob = blob
        self._fits = fits
        self._several = several
        self._said: set[str] = set()

    def ask_all(self, origins: Sequence[Origin]) -> Found | None:
        """One round."""
        self.errors = []
        for origin in usable(origins, self._blob.digest, lambda origin: origin.source):
            self.none = False
            try:
                chunks = asked_twice(partial(origin.source.chunk_list, origin.name, self._blob))
            except Cancelled:
                raise
            except ChunkListTooFine as exc:
                self._told(origin, f"{exc}; it is not used, see --unproved")
                self.none = True
            except NotFound as exc:
                log.debug("%s has no chunk list of %s: %s", origin.source.label, self._blob.digest, exc)
            except FusefsError as exc:
                self._note(exc, origin, last=origin is origins[-1])
            else:
                self.none = chunks is None
                if chunks is not None and self._fits(chunks):
                    return chunks, origin
        return None

    def _told(self, origin: Origin, what: str) -> None:
        text = f"{origin.source.label}: chunk list of {self._blob.digest.short}: {what}"
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)

    def _note(self, exc: FusefsError, origin: Origin, *, last: bool) -> None:
        self.errors.append(exc)
        text = f"{origin.source.label}: chunk list of {self._blob.digest.short}: {exc}"
        if text not in self._said and not isinstance(exc, HostResting):
            self._said.add(text)
            # Trouble of a source that others stand in for is told by its circuit and by status.
            quiet = self._several and exc.temporary
            log.log(logging.INFO if quiet else logging.WARNING, "%s", text)
        standing = standing_of(origin.source)
        if isinstance(exc, InvalidInput) and standing is not None and not last:
            standing.set_aside(self._blob.digest, "a chunk list that is none")


def lied(origins: Sequence[Origin], liar: Origin | None, digest: Digest) -> None:
    """The list of `liar` was wrong: it is set aside, and those that failed it were right."""
    for origin in origins:
        if (standing := standing_of(origin.source)) is not None:
            standing.forgive(digest)
    standing = standing_of(liar.source) if liar is not None else None
    if standing is not None:
        standing.set_aside(digest, "a wrong chunk list")
