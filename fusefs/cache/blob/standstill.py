"""Standstill: for a moment nobody fetches, proves or evicts a chunk of a blob, in any process."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from fusefs.cache.blob.mapfile import chunk_lock
from fusefs.system import locks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.cache.blob.chunkmap import ChunkMap


@contextlib.contextmanager
def standstill(chunk_map: ChunkMap, count: int) -> Iterator[None]:
    """Hold the locks of all `count` chunks, against the workers of this process, too.

    Raises:
        LockHeld: somebody has had one for too long.
        OSError: as the kernel says.
    """
    if chunk_map.fd < 0:
        yield
        return
    # An open file of its own, and with it go the locks; not by name, for another map may lie there by now.
    own = os.open(f"/proc/self/fd/{chunk_map.fd}", os.O_RDWR | os.O_CLOEXEC)
    try:
        locks.wait_locks(own, range(chunk_lock(0), chunk_lock(count)))
        yield
    finally:
        os.close(own)
