"""Load: how the load of a blob that was just opened begins, and which prefetch it gets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fusefs.fetch.foresight import Foresight
from fusefs.prefetch.policy import Prefetch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.disk import DiskCache
    from fusefs.values.settings import Settings

_AHEAD = 4
"""This part of the cache's limit is fetched ahead of a reader at most."""

_COLD = 10
"""A load begins cold when less than this part of the blob is on disk."""


def prefetch_of(chunker: Chunker, cache: DiskCache, settings: Settings, files: Iterable[range]) -> Foresight:
    """The policies for a blob that was just opened, and is an archive of `files` if it is one.  Blocking, but short."""
    cold = not chunker.sealed and _COLD * chunker.present_bytes < chunker.blob.size
    kept = cache.trace(chunker.blob) if cold else None
    most, without = most_ahead(settings), settings.without
    return Foresight(Prefetch(chunker.chunks, most, kept=kept, cold=cold, without=without, files=files))


def most_ahead(settings: Settings) -> int:
    """Bytes that are fetched ahead of one reader at most."""
    # What was fetched ahead must not make room for what is fetched further ahead.
    return int(min(settings.readahead_max, (settings.cache_size or math.inf) // _AHEAD))
