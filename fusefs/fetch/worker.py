"""Worker: fetch one span in a thread.  Blocking; knows sources and the chunker, not trio and not who waits.

Which source is asked, for how long, and who is to blame for wrong bytes is for `fusefs.sources.failover` to say.  A
source that ignores Range sends all of the blob: then the worker takes along what passes (`fusefs.fetch.wholestream`).
"""

from __future__ import annotations

import bisect
import contextlib
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fusefs.cache.blob.mapfile import ARRIVED
from fusefs.errors import (
    CacheError,
    Cancelled,
    DigestMismatch,
    Forsaken,
    FusefsError,
    NotFound,
    StreamTaken,
    UnexpectedEnd,
)
from fusefs.fetch.pulse import Pulse
from fusefs.fetch.spans import runs
from fusefs.fetch.wholestream import Alone, Verdict
from fusefs.sources.base import Evidenced
from fusefs.values import metrics
from fusefs.values.chunks import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.memory.buffer import Buffer
    from fusefs.fetch.wholestream import Along
    from fusefs.sources.backoff import Patience
    from fusefs.sources.base import Body, Origin
    from fusefs.sources.failover import Failover, Turns
    from fusefs.values.counters import Counters

    Landed = Callable[[int, BaseException | None], None]
    """Told of each chunk of the span, once: its index, and why it failed or None."""

log = logging.getLogger(__name__)

_ALONE = Alone()


def fetch_span(
    chunker: Chunker,
    span: Sequence[int],
    origins: Failover,
    buffer: Buffer,
    counters: Counters,
    landed: Landed,
    pulse: Pulse | None = None,
    along: Along = _ALONE,
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Fetch the chunks of `span` (rising), verify and store each, and tell `landed` as soon as each is there.

    Never raises: what went wrong is told to `landed`, once for each chunk.  `pulse` beats whenever bytes come; `wanted`
    is asked between two chunks, and before another request.  The worker owns `buffer`, whatever memory that goes on
    with, until this returns.
    """
    turns = origins.turns(chunker.blob.digest, entire=along.entire)
    work = _Span(chunker, list(span), buffer, counters, landed, pulse or Pulse(), along, turns, wanted)
    error: BaseException | None = None
    try:
        work.fetch(origins.patience())
    except FusefsError as exc:
        error = exc
    except Exception as exc:  # a bug: those who wait must not wait for ever
        log.exception("a worker failed")
        error = exc
    for index in work.left:
        landed(index, error)


@dataclass(slots=True)
class _Span:
    """A span as it is fetched.

    Attributes:
        chunker: where it goes to.
        left: chunks that nobody was told of yet, rising.
        buffer: the memory to work in.
        counters: what happened.
        landed: told of each chunk.
        pulse: beats when bytes come.
        along: who has what passes in a stream of the whole blob.
        turns: whose turn it is to be asked.
        wanted: whether anybody wants any of it still.
    """

    chunker: Chunker
    left: list[int]
    buffer: Buffer
    counters: Counters
    landed: Landed
    pulse: Pulse
    along: Along
    turns: Turns
    wanted: Callable[[], bool]

    def fetch(self, patience: Patience | None) -> None:
        """Ask one source after the other for what is left.

        Raises:
            Cancelled, CacheError, StreamTaken: no other source would help.
            Forsaken: nobody wants it any more.
            FusefsError: why some of it is left in the end.
        """
        for origin in self.turns.rounds(patience):
            if not self.wanted():
                break
            error = self._ask(origin)
            if not self.left:
                return
            if error is not None:
                self.turns.failed(error)
        if not self.wanted():
            raise Forsaken("its readers are gone")
        raise NotFound(f"no source has {self.chunker.blob.digest}")

    def _ask(self, origin: Origin) -> FusefsError | None:
        """Ask one source for all that is left; what went wrong last."""
        error: FusefsError | None = None
        for run in runs(self.left):
            extent = self.chunker.chunks.extent(run)
            whole = Chunk(extent.start, extent.stop - 1)
            try:
                with contextlib.closing(origin.open_range(self.chunker.blob, whole)) as body:
                    if body.given != whole:
                        return self._take_along(body, origin)
                    for index in run:
                        if index > run.start and not self.wanted():
                            return error
                        error = self._take(index, body, origin) or error
            except (Cancelled, CacheError, StreamTaken):
                raise
            except FusefsError as exc:
                error = exc
        return error

    def _take_along(self, body: Body, origin: Origin) -> FusefsError | None:
        """Take all of the blob, of which a part was asked for: what is left, and what else is not here.

        Raises:
            StreamTaken: another worker does that, and brings what is left here, too.
        """
        if self.turns.put_off():
            return None  # it gives the connection up, and with it what is on its way
        if not self.along.begin():
            raise StreamTaken("another request takes the whole file", source=origin.label)
        error: FusefsError | None = None
        stop = len(self.chunker.chunks)
        for index in range(stop):
            while stop > index and self.chunker.present(stop - 1):
                stop -= 1
            if index == stop:
                break
            verdict = self.along.claim(index)
            if verdict is Verdict.STOP and not (self.left and self.wanted()):
                break
            if verdict is Verdict.TAKE:
                bisect.insort(self.left, index)
            if index in self.left:
                error = self._take(index, body, origin) or error
            else:
                self._drop(self.chunker.chunks[index].size, body)
        return error

    def _take(self, index: int, body: Body, origin: Origin) -> DigestMismatch | None:
        """Take one chunk from the stream; a mismatch is returned, because the stream goes on behind it."""
        counters, chunks = self.counters, self.chunker.chunks
        counted = chunks[index].size
        prove = body.evidence if not chunks.complete and isinstance(body, Evidenced) else None
        try:
            state = self.chunker.fill(index, partial(self._receive, body), self.buffer, prove)
        except DigestMismatch as exc:
            counters.add(metrics.BYTES_FETCHED, counted)
            counters.add(metrics.CHUNKS_REJECTED)
            log.warning("%s: %s", origin.label, exc)
            self.turns.wrong(index)
            return exc
        counters.add(metrics.BYTES_FETCHED, counted)
        counters.add(metrics.CHUNKS_UNPROVED if state == ARRIVED else metrics.CHUNKS_VERIFIED)
        self.turns.right(index)
        self.left.remove(index)
        self.landed(index, None)
        return None

    def _drop(self, size: int, body: Body) -> None:
        """Let `size` bytes pass that are here, or somebody else's to fetch."""
        while size:
            got = self._receive(body, self.buffer.view[:size])
            if not got:
                raise UnexpectedEnd(f"a stream ended {size} bytes before a chunk that is wanted")
            size -= got

    def _receive(self, body: Body, view: memoryview) -> int:
        got = body.readinto(view)
        self.pulse.beats += 1
        return got
