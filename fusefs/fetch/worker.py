"""Worker: fetch one span in a thread.  Blocking; knows sources and the chunker, not trio and not who waits.

Sources are asked in order.  What fails its digest is asked for once more on a new request (a flipped bit on the way)
and then from the next source; when that one has it right, the first is set aside for the blob.  Not before: when all
of them fail the same digest it is the chunk list that is wrong.  Transport trouble has been retried by the source
itself (`fusefs.sources.retry`), or is waited out here when there are several (`fusefs.fetch.rounds`).
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusefs.errors import CacheError, Cancelled, DigestMismatch, FusefsError, NotFound
from fusefs.fetch.rounds import decisive, patience_of, standing_of, usable
from fusefs.fetch.spans import runs
from fusefs.values import metrics
from fusefs.values.chunks import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.sources.base import Body, Source
    from fusefs.values.counters import Counters
    from fusefs.values.names import Name

    Landed = Callable[[int, BaseException | None], None]
    """Told of each chunk of the span, once: its index, and why it failed or None."""

log = logging.getLogger(__name__)

_TRIES_A_SOURCE = 2
"""For bytes that do not match: once is an accident, twice is the source."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a blob can be had: a source, and the model under whose name it has it."""

    source: Source
    name: Name


def fetch_span(
    chunker: Chunker,
    span: Sequence[int],
    origins: Sequence[Origin],
    buffer: memoryview,
    counters: Counters,
    landed: Landed,
    heard: Callable[[], None] = lambda: None,
) -> memoryview:
    """Fetch the chunks of `span` (rising), verify and store each, and tell `landed` as soon as each is there.

    Never raises: what went wrong is told to `landed`, once for each chunk.  `heard` is told whenever bytes come.

    Returns:
        `buffer`, or another of its size that was had for it.
    """
    work = _Span(chunker, list(span), buffer, counters, landed, heard)
    error: BaseException
    try:
        error = work.fetch(origins)
    except FusefsError as exc:
        error = exc
    except Exception as exc:  # a bug: those who wait must not wait for ever
        log.exception("a worker failed")
        error = exc
    for index in work.left:
        landed(index, error)
    return work.buffer


@dataclass(slots=True)
class _Span:
    """A span as it is fetched.

    Attributes:
        chunker: where it goes to.
        left: chunks that nobody was told of yet, rising.
        buffer: the memory to work in; a chunk that stays in it is given for another.
        counters: what happened.
        landed: told of each chunk.
        heard: told of bytes.
        misses: how many times which source had a chunk wrong.
    """

    chunker: Chunker
    left: list[int]
    buffer: memoryview
    counters: Counters
    landed: Landed
    heard: Callable[[], None]
    misses: dict[int, Counter[Origin]] = field(default_factory=dict)

    def fetch(self, origins: Sequence[Origin]) -> FusefsError:
        """Ask one source after the other for what is left; why some of it is left in the end.

        Raises:
            Cancelled, CacheError: no other source would help.
        """
        patience = patience_of(origin.source for origin in origins)
        while True:
            before = len(self.left)
            error = self._round(origins)
            if not self.left or patience is None:
                return error
            if len(self.left) < before:
                patience.renew()
            patience.pause(error)

    def _round(self, origins: Sequence[Origin]) -> FusefsError:
        """Ask each source that may be asked."""
        digest = self.chunker.blob.digest
        errors: list[FusefsError] = []
        asked = usable(origins, digest, lambda origin: origin.source)
        for origin in [origin for origin in asked if not self._caught(origin)] or asked:
            if error := self._ask_twice(origin):
                errors.append(error)
            if not self.left:
                break
        return decisive(errors) if errors else NotFound(f"no source has {digest}")

    def _ask_twice(self, origin: Origin) -> FusefsError | None:
        error: FusefsError | None = None
        for _ in range(_TRIES_A_SOURCE):
            error = self._ask(origin)
            if not self.left or not isinstance(error, DigestMismatch):
                break
        return error

    def _ask(self, origin: Origin) -> FusefsError | None:
        """Ask one source for all that is left; what went wrong last."""
        error: FusefsError | None = None
        for run in list(runs(self.left)):
            whole = Chunk(self.chunker.chunks[run.start].start, self.chunker.chunks[run.stop - 1].end)
            try:
                with contextlib.closing(origin.source.open_range(origin.name, self.chunker.blob, whole)) as body:
                    for index in run:
                        mismatch = self._take(index, body)
                        if mismatch is None:
                            self._blame_others(index, origin)
                            self.left.remove(index)
                            self.landed(index, None)
                        else:
                            log.warning("%s: %s", origin.source.label, mismatch)
                            self.misses.setdefault(index, Counter())[origin] += 1
                            error = mismatch
            except (Cancelled, CacheError):
                raise
            except FusefsError as exc:
                error = exc
        return error

    def _caught(self, origin: Origin) -> bool:
        """Whether a source has had a chunk wrong twice that nobody has had right yet."""
        return any(self.misses[index][origin] >= _TRIES_A_SOURCE for index in self.left if index in self.misses)

    def _blame_others(self, index: int, right: Origin) -> None:
        """A chunk is right at last: who had it wrong is not asked for this blob any more."""
        for origin, times in self.misses.pop(index, Counter()).items():
            standing = standing_of(origin.source)
            if origin != right and times >= _TRIES_A_SOURCE and standing is not None:
                standing.set_aside(self.chunker.blob.digest, "wrong bytes twice")

    def _take(self, index: int, body: Body) -> DigestMismatch | None:
        """Take one chunk from the stream; a mismatch is returned, because the stream goes on behind it."""
        chunks, counters = self.chunker.chunks, self.counters
        size = chunks[index].size

        def readinto(view: memoryview) -> int:
            got = body.readinto(view)
            self.heard()
            return got

        try:
            self.buffer = self.chunker.fill(index, readinto, self.buffer)
        except DigestMismatch as exc:
            counters.add(metrics.BYTES_FETCHED, size)
            counters.add(metrics.CHUNKS_REJECTED)
            return exc
        counters.add(metrics.BYTES_FETCHED, size)
        counters.add(metrics.CHUNKS_VERIFIED if chunks.proved else metrics.CHUNKS_UNPROVED)
        return None
