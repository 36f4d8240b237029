"""Worker: fetch one span in a thread.  Blocking; knows sources and the chunker, not trio and not who waits.

Sources are asked in order.  What fails its digest is asked for once more on a new request (a flipped bit on the way)
and then from the next source; transport trouble has been retried by the source itself (`fusefs.sources.retry`).
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.chunks import Chunk
from fusefs.errors import CacheError, Cancelled, DigestMismatch, FusefsError, NotFound
from fusefs.fetch.spans import runs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusefs.cache.chunker import Chunker
    from fusefs.names import Name
    from fusefs.sources.base import Body, Source
    from fusefs.stats import Counters

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
) -> None:
    """Fetch the chunks of `span` (rising), verify and store each, and tell `landed` as soon as each is there.

    Never raises: what went wrong is told to `landed`, once for each chunk.
    """
    left = list(span)
    error: FusefsError = NotFound(f"no source has {chunker.blob.digest}")
    try:
        for origin in origins:
            for _ in range(_TRIES_A_SOURCE):
                left, error = _ask(chunker, left, origin, buffer, counters, landed, error)
                if not left or not isinstance(error, DigestMismatch):
                    break
            if not left:
                return
    except FusefsError as exc:
        error = exc
    except Exception as exc:  # a bug: those who wait must not wait for ever
        log.exception("a worker failed")
        for index in left:
            landed(index, exc)
        return
    for index in left:
        landed(index, error)


def _ask(
    chunker: Chunker,
    wanted: list[int],
    origin: Origin,
    buffer: memoryview,
    counters: Counters,
    landed: Landed,
    error: FusefsError,
) -> tuple[list[int], FusefsError]:
    """Ask one source for all that is wanted; what is still missing afterwards, and why."""
    missing: list[int] = []
    for run in runs(wanted):
        done = run.start
        try:
            whole = Chunk(chunker.chunks[run.start].start, chunker.chunks[run.stop - 1].end)
            with contextlib.closing(origin.source.open_range(origin.name, chunker.blob, whole)) as body:
                for index in run:
                    mismatch = _take(chunker, index, body, buffer, counters)
                    done = index + 1
                    if mismatch is None:
                        landed(index, None)
                    else:
                        log.warning("%s: %s", origin.source.label, mismatch)
                        error = mismatch
                        missing.append(index)
        except (Cancelled, CacheError):
            wanted[:] = [*missing, *range(done, run.stop), *(i for i in wanted if i >= run.stop)]
            raise
        except FusefsError as exc:
            error = exc
            missing.extend(range(done, run.stop))
    return missing, error


def _take(chunker: Chunker, index: int, body: Body, buffer: memoryview, counters: Counters) -> DigestMismatch | None:
    """Take one chunk from the stream; a mismatch is returned, because the stream goes on behind it."""
    size = chunker.chunks[index].size
    try:
        chunker.fill(index, body.readinto, buffer)
    except DigestMismatch as exc:
        counters.add("bytes_fetched", size)
        counters.add("chunks_rejected")
        return exc
    counters.add("bytes_fetched", size)
    counters.add("chunks_verified" if chunker.chunks.proved else "chunks_unproved")
    return None
