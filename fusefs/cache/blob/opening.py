"""Opening a blob for reading and writing chunk by chunk, beside other processes that may do the same.

All of it happens under `Lock.CHANGE`, so nobody renames, creates, judges or evicts meanwhile.  A disk that takes
nothing more gives a Chunker that lives in memory (P8).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from fusefs.cache.blob.chunker import Chunker
from fusefs.cache.blob.chunkmap import ChunkMap
from fusefs.cache.blob.data import open_data, open_regular
from fusefs.cache.blob.mapfile import ABSENT, CLAIMED, Lock, condemned, in_use, open_locked, speaks_otherwise
from fusefs.cache.blob.mapped import read_mapped
from fusefs.cache.blob.sealing import put_aside
from fusefs.cache.blob.slotfile import SlotFile
from fusefs.errors import BlobQuarantined, CacheError, CacheFull, InvalidChunkList
from fusefs.system.descriptors import ran_out
from fusefs.system.files import disk_errors, make_folder, read_front, read_plain, write_atomically
from fusefs.system.locks import try_lock, unlock
from fusefs.system.spot import exists_at, stat_at, unlink_at
from fusefs.values.chunkpack import FRONT, MAX_PACKED_SIZE, fingerprint, pack, unpack, voucher_of
from fusefs.values.slots import Slots
from fusefs.values.voucher import BOUND, NOBODY, Voucher

if TYPE_CHECKING:
    from fusefs.cache.blob.setup import BlobSetup
    from fusefs.cache.place import HeldPlace
    from fusefs.values.chunks import Blob, ChunkList


def open_chunker(setup: BlobSetup, *, doubt: bool = False) -> Chunker:
    """Open a blob; its list is pinned with its voucher.  Blocking, but short.

    A list that lies here already keeps the better of both vouchers.

    With `doubt` what was proved before is only claimed from now on, although it was in this boot.

    Raises:
        BlobQuarantined: the list that lay there was found lying; what the caller has may be the same.
        CacheError: the files of the blob cannot be used.
    """
    place = setup.place
    while True:
        try:
            with disk_errors(place.folder):
                make_folder(place.folder)
                fd = open_locked(place.map)
        except CacheFull as exc:
            return _without_disk(setup, exc)
        except CacheError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                if not exists_at(place.folder.parent):  # nor can it be made: somebody has removed the whole cache
                    gone = CacheFull(f"{place.root}: the cache directory was removed")
                    return _without_disk(setup, gone)
                continue  # the folder was put into quarantine just now, or all of it was evicted
            raise
        try:
            return _open(setup, fd, doubt=doubt)
        except CacheFull as exc:
            return _without_disk(setup, exc)


def pinned_list(place: HeldPlace, blob: Blob, *, unlisted_too: bool = False) -> tuple[ChunkList, Voucher] | None:
    """The chunk list that lies beside the blob, and who stands behind it; None without one, or when it is torn.

    That of an unlisted blob proves no chunk, and counts as none unless it is asked for.

    Raises:
        CacheError: there is no descriptor left to look: that says nothing of the list, and another one, or none, would
            be used in its place.
    """
    try:
        packed = read_mapped(place.chunks, MAX_PACKED_SIZE)
        pinned = unpack(packed, blob.size, mapped=not isinstance(packed, bytes))
    except OSError as exc:
        if ran_out(exc):
            raise CacheError(f"{place.chunks}: {exc.strerror}") from exc
        return None
    except InvalidChunkList:
        return None
    return None if pinned[0].unlisted and not unlisted_too else pinned


def pinned_voucher(place: HeldPlace) -> Voucher:
    """Who stands behind the list that lies beside a blob, without reading the list."""
    with contextlib.suppress(OSError, InvalidChunkList):
        return voucher_of(read_front(place.chunks, FRONT))
    return NOBODY


def _open(setup: BlobSetup, map_fd: int, *, doubt: bool) -> Chunker:
    """Open data and map; `map_fd` holds Lock.CHANGE."""
    place, blob, chunks = setup.place, setup.blob, setup.chunks
    data_fd = -1
    chunk_map = None
    try:
        with disk_errors(place.folder):
            _look_for_verdict(place, blob, map_fd)
            otherwise = speaks_otherwise(map_fd, blob, chunks)
            if otherwise and in_use(map_fd):
                # What that list lets through would be written over what this one has proved: not into one file.
                with contextlib.suppress(FileNotFoundError):
                    unlink_at(place.data)
            data_fd, sealed, fresh = open_data(place, blob.size)
            setup = _pinned(setup, anew=otherwise) if chunks.complete else _pinned_slots(setup, sealed=sealed)
            # Of an unlisted blob only the whole can be proved: which part of it had arrived, a lost map cannot say.
            state = CLAIMED if sealed or not (chunks.unlisted or fresh) else ABSENT
            taken, map_fd = map_fd, -1
            chunk_map = ChunkMap.attach(place.map, taken, blob, chunks, otherwise=state, anew=fresh)
            # Nobody evicts now, and nobody who comes later will: that takes Lock.CHANGE, too.
            try_lock(chunk_map.fd, Lock.OPEN, shared=True)
            if sealed:
                chunk_map.claim_absent()  # a rotten chunk, and whoever found it died before the repair
            if doubt:
                chunk_map.claim_present(arrived_too=not chunks.unlisted)
            unlock(chunk_map.fd, Lock.CHANGE)
    except BaseException:
        if setup.chunks is not chunks:  # else they are the caller's
            setup.chunks.slots.close()
        if chunk_map is not None:
            chunk_map.close()
        for fd in (map_fd, data_fd):
            if fd >= 0:
                os.close(fd)
        raise
    return Chunker(setup, chunk_map, data_fd, sealed=sealed)


def _look_for_verdict(place: HeldPlace, blob: Blob, map_fd: int) -> None:
    """Whoever found the list lying may have died before all of it was out of the way."""
    if condemned(map_fd):
        put_aside(place)
        raise BlobQuarantined(f"{blob.digest}: its chunk list was found to be wrong and is asked for again")


def _pinned(setup: BlobSetup, *, anew: bool) -> BlobSetup:
    """Have a complete list beside the blob: as it lies there, and the better of its vouchers if it did already.

    With `anew` the blob was open by another list before.

    Raises:
        OSError: the disk does not take it.
    """
    place, blob, chunks, voucher = setup.place, setup.blob, setup.chunks, setup.voucher
    if len(chunks) == 1 and chunks.raw_digest(0) == blob.digest.raw:
        if anew:  # shards that somebody signed: of all who read a list here none looks at the map first
            with contextlib.suppress(FileNotFoundError):
                unlink_at(place.chunks)
        return replace(setup, voucher=BOUND)  # there is nothing to pin
    fingerprint(chunks)  # or the lists would be compared digest by digest
    pinned = pinned_list(place, blob)
    if pinned is not None and pinned[0] == chunks and not voucher.betters(pinned[1]):
        return replace(setup, chunks=pinned[0], voucher=pinned[1])
    write_atomically(place.chunks, pack(chunks, voucher), place.root / "partial", durable=False)
    # As it lies there it is mapped, and takes less memory.
    pinned = pinned_list(place, blob)
    return replace(setup, chunks=pinned[0]) if pinned is not None and pinned[0] == chunks else setup


def _pinned_slots(setup: BlobSetup, *, sealed: bool) -> BlobSetup:
    """Have a list beside the blob whose slots fill in; what is in them stays there.

    An unlisted one never takes the place of a list by which chunks are proved, nor does anything arrive in a sealed
    blob: such slots are in memory.

    Raises:
        OSError: the disk does not take it.
    """
    place, blob, chunks = setup.place, setup.blob, setup.chunks
    setup = replace(setup, voucher=chunks.voucher or NOBODY)
    pinned = pinned_list(place, blob, unlisted_too=True)
    if chunks.unlisted and (sealed or (pinned is not None and not pinned[0].unlisted)):
        return replace(setup, chunks=chunks.with_slots(Slots()))
    if pinned is None or fingerprint(pinned[0]) != fingerprint(chunks):
        write_atomically(place.chunks, pack(chunks, setup.voucher), place.root / "partial", durable=False)
    elif stat_at(place.chunks).st_nlink > 1:
        # It has another name as well (`cp -al` of a cache): its slots are somebody else's, too.
        packed = read_plain(place.chunks, MAX_PACKED_SIZE)
        write_atomically(place.chunks, packed, place.root / "partial", durable=False)
    return replace(setup, chunks=chunks.with_slots(SlotFile.open(place.chunks)))


def _without_disk(setup: BlobSetup, reason: CacheFull) -> Chunker:
    """What the disk has can be read; what comes lives in memory."""
    place, blob, chunks = setup.place, setup.blob, setup.chunks
    fd, sealed = open_regular(place.sealed, blob.size), True
    if fd < 0:
        fd, sealed = open_regular(place.data, blob.size), False
    # Of unsealed bytes that no digest proves nobody can say any more which have arrived.
    known = fd >= 0 and (sealed or not chunks.unlisted)
    if not chunks.complete:
        setup = replace(setup, chunks=chunks.with_slots(Slots()), voucher=chunks.voucher or NOBODY)
    chunk_map = ChunkMap.in_memory(chunks, CLAIMED if known else ABSENT)
    return Chunker(setup, chunk_map, fd, sealed=fd >= 0 and sealed, full=reason)
