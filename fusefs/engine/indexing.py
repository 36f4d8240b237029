"""Indexing: the proved chunk lists of models, of which everything large is fetched first, as far as it is not here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.engine.pulling import pull
from fusefs.errors import CacheError
from fusefs.offers.filehash import chunk_list_of
from fusefs.values.settings import MIB
from fusefs.values.voucher import Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusefs.engine.engine import Engine
    from fusefs.engine.options import PullOptions
    from fusefs.engine.pulling import Show
    from fusefs.values.chunks import Blob, ChunkList
    from fusefs.values.report import PullReport
    from fusefs.values.snapshot import Snapshot

    Hashing = Callable[[str, int, int], None]
    """Told of a file that is hashed, of the bytes done, and of its size."""

CHUNK_SIZE = 4 * MIB
"""Bytes of a chunk where nothing else is asked for: a part of a tensor, and a request that fills a link."""


@dataclass(frozen=True, slots=True)
class ModelLists:
    """The lists of one model.

    Attributes:
        model: the model.
        lists: of each blob that is not its own only chunk; proved by the digest of the blob.
    """

    model: Snapshot
    lists: dict[Blob, ChunkList]


def lists_of(
    options: PullOptions, show: Show, hashing: Hashing, chunk_size: int | None = None
) -> tuple[PullReport, list[ModelLists]]:
    """Fetch what is large of some models, and have its lists.  Blocking.

    Args:
        options: the models; `larger_than` says of which blobs.
        show: told how the fetching goes.
        hashing: told how the hashing goes.
        chunk_size: of all lists; None for the lists that the cache has, whatever their chunks.

    Returns:
        What became of each blob, and the lists of each model; none of them when something failed.

    Raises:
        FusefsError: the cache cannot be used.
        KeyboardInterrupt: SIGINT or SIGTERM; what has arrived is kept.
    """
    found: list[ModelLists] = []

    def collect(engine: Engine, models: Sequence[Snapshot]) -> None:
        known: dict[Blob, ChunkList] = {}
        for model in models:
            for blob in model.blobs:
                if blob.size > options.larger_than and blob not in known:
                    known[blob] = _list_of(engine, blob, hashing, chunk_size)
            found.append(ModelLists(model, {blob: known[blob] for blob in dict.fromkeys(model.blobs) if blob in known}))

    return pull(options, show, collect), found


def _list_of(engine: Engine, blob: Blob, hashing: Hashing, chunk_size: int | None) -> ChunkList:
    """The list of a sealed blob.

    Raises:
        CacheError: what lies in the cache is another blob by now.
    """
    pinned = engine.cache.pinned(blob) if chunk_size is None else None
    if pinned is not None and pinned[1].proof == Proof.BOUND and pinned[0].complete:
        return pinned[0]
    path = engine.cache.place(blob.digest).sealed.path
    digest, chunks = chunk_list_of(
        path, chunk_size or CHUNK_SIZE, lambda done, size: hashing(blob.digest.short, done, size)
    )
    if digest != blob.digest:
        raise CacheError(f"{blob.digest} has changed on disk: `fusefs verify` drops it, and it is fetched again")
    return chunks
