"""Write-back: chunks that the disk would not take go to it as soon as it takes chunks again (P8).

A chunk in the spill counts as here, so nobody fetches it again, and without this nobody would write it either.

One chunk: its lock → look at the map → write, mark → drop it from the spill → unlock.  In this order a reader finds it
at any time, in memory or on disk.  The locks belong to an open file of their own, as those of eviction do, so that they
hold against the workers and the evictions of this process, too: a chunk that was given up in memory meanwhile may be on
its way again, and between what is written and its mark there must be no hole.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from fusefs.cache.blob.mapfile import SERVED, chunk_lock
from fusefs.cache.blob.sealing import unseal
from fusefs.errors import CacheFull
from fusefs.system import locks
from fusefs.system.files import disk_errors
from fusefs.system.spot import open_at

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker


def lives_in_memory(chunker: Chunker) -> bool:
    """Whether the disk had no room even for the map of the blob: it has to be opened again to be written."""
    return chunker.map.fd < 0


def waits(chunker: Chunker) -> bool:
    """Whether a chunk of the blob is in memory because the disk would not take it."""
    return chunker.spills and chunker.memory.spill.has_any_of(chunker)


def write_back(chunker: Chunker) -> bool:
    """Write what the disk would not take.  Blocking.

    Returns:
        True when none of it is in memory any more; False when others hold the locks of some.

    Raises:
        CacheFull: the disk still takes no more.
        CacheError: the files of the blob cannot be used.
    """
    if chunker.quarantined:
        return True
    if lives_in_memory(chunker):
        raise chunker.full or CacheFull(f"{chunker.place.data}: cannot be written")
    if chunker.sealed and _lacks_some(chunker):
        unseal(chunker)  # one of its chunks had rotten, and the disk did not let us repair it then
    with disk_errors(chunker.place.map):
        own = open_at(chunker.place.map, os.O_RDWR)
        try:
            if not os.path.samestat(os.fstat(own), os.fstat(chunker.map.fd)):
                return True  # removed or put aside by another process; whoever reads it finds out
            for index, data in chunker.memory.spill.chunks_of(chunker):
                if locks.try_lock(own, chunk_lock(index)):
                    try:
                        _write_one(chunker, index, data)
                    finally:
                        locks.unlock(own, chunk_lock(index))
        finally:
            os.close(own)
    return not waits(chunker)


def _lacks_some(chunker: Chunker) -> bool:
    """Whether a chunk is in memory alone.  Another thread may have written them all, and the blob be sealed since."""
    return any(chunker.map[index] not in SERVED for index, _ in chunker.memory.spill.chunks_of(chunker))


def _write_one(chunker: Chunker, index: int, data: bytes) -> None:
    if chunker.map[index] not in SERVED:  # else another process has written it since
        chunker.write(index, memoryview(data), hashlib.sha256(data).digest(), chunker.taken)
    chunker.memory.spill.drop(chunker, index)
