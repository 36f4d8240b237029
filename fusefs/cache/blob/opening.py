"""Opening a blob for reading and writing chunk by chunk, beside other processes that may do the same.

All of it happens under `Lock.CHANGE`, so nobody renames, creates, judges or evicts meanwhile.  A disk that takes
nothing more gives a Chunker that lives in memory (P8).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from fusefs.cache.blob.chunker import Chunker
from fusefs.cache.blob.chunkmap import ABSENT, CLAIMED, ChunkMap, Lock, condemned, open_locked
from fusefs.cache.blob.data import open_data, open_regular
from fusefs.cache.blob.mapped import read_mapped
from fusefs.cache.blob.sealing import put_aside
from fusefs.errors import BlobQuarantined, CacheError, CacheFull, InvalidChunkList
from fusefs.system.descriptors import ran_out
from fusefs.system.files import disk_errors, make_folder, read_front, write_atomically
from fusefs.system.locks import try_lock, unlock
from fusefs.system.spot import exists_at, unlink_at
from fusefs.values.chunkpack import FRONT, MAX_PACKED_SIZE, fingerprint, pack, unpack, voucher_of
from fusefs.values.voucher import BOUND, NOBODY, Voucher

if TYPE_CHECKING:
    from fusefs.cache.blob.room import Room
    from fusefs.cache.memory.budget import Memory
    from fusefs.cache.place import HeldPlace
    from fusefs.values.chunks import Blob, ChunkList


def open_chunker(
    place: HeldPlace,
    blob: Blob,
    chunks: ChunkList,
    voucher: Voucher,
    memory: Memory,
    room: Room,
    *,
    doubt: bool = False,
) -> Chunker:
    """Open `blob`; `chunks` is pinned with its `voucher`.  Blocking, but short.

    A list that lies here already keeps the better of both vouchers.

    With `doubt` what was proved before is only claimed from now on, although it was in this boot.

    Raises:
        BlobQuarantined: the list that lay there was found lying; what the caller has may be the same.
        CacheError: the files of the blob cannot be used.
    """
    while True:
        try:
            with disk_errors(place.folder):
                make_folder(place.folder)
                fd = open_locked(place.map)
        except CacheFull as exc:
            return _without_disk(place, blob, chunks, voucher, memory, room, exc)
        except CacheError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                if not exists_at(place.folder.parent):  # nor can it be made: somebody has removed the whole cache
                    gone = CacheFull(f"{place.root}: the cache directory was removed")
                    return _without_disk(place, blob, chunks, voucher, memory, room, gone)
                continue  # the folder was put into quarantine just now, or all of it was evicted
            raise
        try:
            return _open(place, blob, chunks, voucher, memory, room, fd, doubt=doubt)
        except CacheFull as exc:
            return _without_disk(place, blob, chunks, voucher, memory, room, exc)


def pinned_list(place: HeldPlace, blob: Blob) -> tuple[ChunkList, Voucher] | None:
    """The chunk list that lies beside the blob, and who stands behind it; None without one, or when it is torn.

    Raises:
        CacheError: there is no descriptor left to look: that says nothing of the list, and another one, or none, would
            be used in its place.
    """
    try:
        packed = read_mapped(place.chunks, MAX_PACKED_SIZE)
        return unpack(packed, blob.size, mapped=not isinstance(packed, bytes))
    except OSError as exc:
        if ran_out(exc):
            raise CacheError(f"{place.chunks}: {exc.strerror}") from exc
    except InvalidChunkList:
        pass
    return None


def pinned_voucher(place: HeldPlace) -> Voucher:
    """Who stands behind the list that lies beside a blob, without reading the list."""
    with contextlib.suppress(OSError, InvalidChunkList):
        return voucher_of(read_front(place.chunks, FRONT))
    return NOBODY


def _open(
    place: HeldPlace,
    blob: Blob,
    chunks: ChunkList,
    voucher: Voucher,
    memory: Memory,
    room: Room,
    map_fd: int,
    *,
    doubt: bool,
) -> Chunker:
    """Open data and map; `map_fd` holds Lock.CHANGE."""
    data_fd = -1
    chunk_map = None
    try:
        with disk_errors(place.folder):
            _look_for_verdict(place, blob, map_fd)
            if ChunkMap.in_use_otherwise(map_fd, blob, chunks):
                # What that list lets through would be written over what this one has proved: not into one file.
                with contextlib.suppress(FileNotFoundError):
                    unlink_at(place.data)
            data_fd, sealed, fresh = open_data(place, blob.size)
            chunks, voucher = _pin(place, blob, chunks, voucher)
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
    return Chunker(blob, chunks, place, chunk_map, data_fd, memory, room, voucher=voucher, sealed=sealed)


def _look_for_verdict(place: HeldPlace, blob: Blob, map_fd: int) -> None:
    """Whoever found the list lying may have died before all of it was out of the way."""
    if condemned(map_fd):
        put_aside(place)
        raise BlobQuarantined(f"{blob.digest}: its chunk list was found to be wrong and is asked for again")


def _pin(place: HeldPlace, blob: Blob, chunks: ChunkList, voucher: Voucher) -> tuple[ChunkList, Voucher]:
    """Have the list beside the blob; gives it as it lies there, and the better of its vouchers if it did already.

    Raises:
        OSError: the disk does not take it.
    """
    if not chunks.proved:
        return chunks, NOBODY
    if len(chunks) == 1 and chunks.raw_digest(0) == blob.digest.raw:
        return chunks, BOUND  # there is nothing to pin
    fingerprint(chunks)  # or the lists would be compared digest by digest
    pinned = pinned_list(place, blob)
    if pinned is not None and pinned[0] == chunks and not voucher.betters(pinned[1]):
        return pinned
    write_atomically(place.chunks, pack(chunks, voucher), place.root / "partial", durable=False)
    # As it lies there it is mapped, and takes less memory.
    pinned = pinned_list(place, blob)
    return (pinned[0] if pinned is not None and pinned[0] == chunks else chunks), voucher


def _without_disk(
    place: HeldPlace, blob: Blob, chunks: ChunkList, voucher: Voucher, memory: Memory, room: Room, reason: CacheFull
) -> Chunker:
    """What the disk has can be read; what comes lives in memory."""
    fd, sealed = open_regular(place.sealed, blob.size), True
    if fd < 0:
        fd, sealed = open_regular(place.data, blob.size), False
    # Of unsealed bytes without digests nobody can say any more which have arrived.
    known = fd >= 0 and (sealed or chunks.proved)
    chunk_map = ChunkMap.in_memory(chunks, CLAIMED if known else ABSENT)
    sealed = fd >= 0 and sealed
    chunker = Chunker(blob, chunks, place, chunk_map, fd, memory, room, voucher=voucher, sealed=sealed)
    chunker.full = reason
    return chunker
