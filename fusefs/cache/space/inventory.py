"""What a cache directory holds beside what eviction sees, and what of it may go.  Only `discard` changes anything."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.cache.blob.backing import is_read_past_us
from fusefs.cache.blob.mapfile import ABSENT, Lock
from fusefs.cache.blob.presence import bytes_on_disk
from fusefs.cache.space.eviction import has_holes
from fusefs.system import locks
from fusefs.system.files import YOUNG, temporaries
from fusefs.system.spot import exists_at, names_at, open_at, remove_tree_at, stat_at, unlink_at
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.chunks import Blob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.cache.blob.blobs import BlobStore
    from fusefs.cache.space.eviction import HeldBlob
    from fusefs.system.spot import Where
    from fusefs.values.digest import Digest


@dataclass(frozen=True, slots=True)
class Remnant:
    """What is no blob: in quarantine, or a temporary file of a process that died.

    Attributes:
        spot: a file or a folder.
        allocated: bytes that it takes on disk.
        mtime: when it was changed last, in seconds since 1970.
    """

    spot: Where
    allocated: int
    mtime: float


def present(cache: BlobStore, held: HeldBlob) -> int:
    """Bytes of a blob that are here."""
    if held.sealed:
        return held.size
    if not held.allocated or not 0 < held.size <= MAX_BLOB_SIZE:
        return 0
    blob = Blob(held.digest, held.size)
    states = cache.states(blob)
    if len(states) == 1:
        return held.size if states[0] != ABSENT else 0
    chunks = cache.pinned_list(blob)
    if chunks is None or len(states) != len(chunks):
        return min(held.allocated, held.size)
    return bytes_on_disk(chunks.size, chunks.starts, states)


def in_use(cache: BlobStore, digest: Digest) -> bool:
    """True when somebody has the blob open, in this process or another, or reads its file past us all."""
    with contextlib.suppress(OSError):
        fd = open_at(cache.place(digest).map, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return locks.is_locked(fd, Lock.OPEN) or is_read_past_us(cache.place(digest), fd)
        finally:
            os.close(fd)
    return False


def freeable(cache: BlobStore, held: HeldBlob, wanted: int) -> int:
    """How many bytes `fusefs.cache.space.eviction.evict` would free of a blob that nobody uses."""
    whole = wanted >= held.allocated or not 0 < held.size <= MAX_BLOB_SIZE
    if whole or not has_holes(cache, held.digest):
        return held.allocated
    blob = Blob(held.digest, held.size)
    chunks = cache.pinned_list(blob)
    if chunks is None:
        return held.allocated
    states = cache.states(blob)
    freed = 0
    for index in range(len(chunks) - 1, -1, -1):
        if freed >= wanted:
            break
        if len(states) != len(chunks) or states[index] != ABSENT:
            freed += chunks[index].size
    return freed


def quarantined(cache: BlobStore) -> list[Remnant]:
    """The blobs whose list lied, oldest first."""
    found = []
    with contextlib.suppress(OSError):
        for name in names_at(cache.held / "quarantine"):
            spot = cache.held / f"quarantine/{name}"
            with contextlib.suppress(OSError):
                infos = [stat_at(spot)]
                if stat.S_ISDIR(infos[0].st_mode):
                    infos += [stat_at(spot / inner) for inner in names_at(spot)]
                allocated = sum(info.st_blocks * 512 for info in infos if stat.S_ISREG(info.st_mode))
                found.append(Remnant(spot, allocated, max(info.st_mtime for info in infos)))
    return sorted(found, key=lambda one: one.mtime)


def left_behind(cache: BlobStore) -> Iterator[Remnant]:
    """Temporary files whose owner has died."""
    for spot in temporaries(cache.held / "partial"):
        with contextlib.suppress(OSError):
            fd = open_at(spot, os.O_RDONLY | os.O_NONBLOCK)
            try:
                info = os.fstat(fd)
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                if stat.S_ISREG(info.st_mode) and abs(time.time() - info.st_mtime) > YOUNG:
                    yield Remnant(spot, info.st_blocks * 512, info.st_mtime)
            finally:
                os.close(fd)


def discard(remnant: Remnant) -> bool:
    """Remove it; True when it is gone."""
    with contextlib.suppress(FileNotFoundError):
        try:
            unlink_at(remnant.spot)
        except IsADirectoryError:
            remove_tree_at(remnant.spot)
    return not exists_at(remnant.spot)
