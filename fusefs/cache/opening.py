"""Opening a blob for reading and writing chunk by chunk, beside other processes that may do the same.

All of it happens under `Lock.CHANGE`, so nobody renames, creates, judges or evicts meanwhile.  A disk that takes
nothing more gives a Chunker that lives in memory (P8).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from fusefs.cache.chunker import Chunker
from fusefs.cache.chunkmap import ABSENT, CLAIMED, ChunkMap, Lock, open_locked
from fusefs.cache.data import open_data, open_regular
from fusefs.cache.files import disk_errors, make_folder, read_plain, write_atomically
from fusefs.cache.locks import try_lock, unlock
from fusefs.chunkpack import MAX_PACKED_SIZE, pack, unpack
from fusefs.errors import CacheError, CacheFull, InvalidChunkList

if TYPE_CHECKING:
    from fusefs.cache.memory import Memory
    from fusefs.cache.place import Place
    from fusefs.cache.quota import Quota
    from fusefs.chunks import Blob, ChunkList


def open_chunker(
    place: Place, blob: Blob, chunks: ChunkList, label: str, memory: Memory, quota: Quota, *, doubt: bool = False
) -> Chunker:
    """Open `blob`; `chunks` is pinned, with `label` saying where from.  Blocking, but short.

    With `doubt` what was proved before is only claimed from now on, although it was in this boot.

    Raises:
        CacheError: the files of the blob cannot be used.
    """
    while True:
        try:
            with disk_errors(place.folder):
                make_folder(place.folder)
                fd = open_locked(place.map)
        except CacheFull as exc:
            return _without_disk(place, blob, chunks, memory, quota, exc)
        except CacheError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                continue  # the folder was put into quarantine just now, or all of it was evicted
            raise
        try:
            return _open(place, blob, chunks, label, memory, quota, fd, doubt=doubt)
        except CacheFull as exc:
            return _without_disk(place, blob, chunks, memory, quota, exc)


def pinned_list(place: Place, blob: Blob) -> ChunkList | None:
    """The chunk list that lies beside the blob; None without one, or when it is torn."""
    with contextlib.suppress(OSError, InvalidChunkList):
        return unpack(read_plain(place.chunks, MAX_PACKED_SIZE), blob.size)[0]
    return None


def _open(
    place: Place, blob: Blob, chunks: ChunkList, label: str, memory: Memory, quota: Quota, map_fd: int, *, doubt: bool
) -> Chunker:
    """Open data and map; `map_fd` holds Lock.CHANGE."""
    data_fd = -1
    chunk_map = None
    try:
        with disk_errors(place.folder):
            if ChunkMap.in_use_otherwise(map_fd, blob, chunks):
                # What that list lets through would be written over what this one has proved: not into one file.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place.data)
            data_fd, sealed, fresh = open_data(place, blob.size)
            # A blob that is its own only chunk needs no list to be pinned.
            if chunks.proved and len(chunks) > 1 and pinned_list(place, blob) != chunks:
                write_atomically(place.chunks, pack(chunks, label), place.root / "partial", durable=False)
            # Without digests only the whole can be proved: which part of it had arrived, a lost map cannot say.
            otherwise = CLAIMED if sealed or (chunks.proved and not fresh) else ABSENT
            taken, map_fd = map_fd, -1
            chunk_map = ChunkMap.attach(place.map, taken, blob, chunks, otherwise=otherwise, anew=fresh)
            # Nobody evicts now, and nobody who comes later will: that takes Lock.CHANGE, too.
            try_lock(chunk_map.fd, Lock.OPEN, shared=True)
            if sealed:
                chunk_map.claim_absent()  # a rotten chunk, and whoever found it died before the repair
            if doubt:
                chunk_map.claim_present(proved=chunks.proved)
            unlock(chunk_map.fd, Lock.CHANGE)
    except BaseException:
        if chunk_map is not None:
            chunk_map.close()
        for fd in (map_fd, data_fd):
            if fd >= 0:
                os.close(fd)
        raise
    return Chunker(blob, chunks, place, chunk_map, data_fd, memory, quota, sealed=sealed)


def _without_disk(
    place: Place, blob: Blob, chunks: ChunkList, memory: Memory, quota: Quota, reason: CacheFull
) -> Chunker:
    """What the disk has can be read; what comes lives in memory."""
    fd, sealed = open_regular(place.sealed, blob.size), True
    if fd < 0:
        fd, sealed = open_regular(place.data, blob.size), False
    # Of unsealed bytes without digests nobody can say any more which have arrived.
    known = fd >= 0 and (sealed or chunks.proved)
    chunk_map = ChunkMap.in_memory(chunks, CLAIMED if known else ABSENT)
    chunker = Chunker(blob, chunks, place, chunk_map, fd, memory, quota, sealed=fd >= 0 and sealed)
    chunker.full = reason
    return chunker
