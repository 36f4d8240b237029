"""Verify: hash everything that a cache directory holds; what does not match is dropped, so that it is fetched again."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fusefs.cache.blob.mapfile import ABSENT, doubt, peek
from fusefs.cache.blob.sealing import unseal
from fusefs.errors import InvalidChunkList
from fusefs.system.files import disk_errors, hexdigest_of, read_plain, remove_foreign
from fusefs.system.spot import exists_at, open_at, stat_at, unlink_at
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.chunkpack import MAX_PACKED_SIZE, size_of, unpack
from fusefs.values.chunks import Blob, ChunkList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusefs.cache.blob.blobs import BlobStore
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.place import HeldPlace
    from fusefs.system.spot import Spot
    from fusefs.values.digest import Digest

    Progress = Callable[[int], None]
    """Told how many more bytes were hashed."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of one blob.

    Attributes:
        digest: its name.
        size: bytes of the whole blob.
        present: bytes that are there and right.
        dropped: bytes that were there and wrong.
        state: `sealed`, `partial`, or `unproved` (without a chunk list nothing can be said before it is whole).
        busy: chunks that could not be looked at, because another process is fetching them now.
        broken: files of it that were damaged, or no files at all, and were removed.
    """

    digest: Digest
    size: int
    present: int
    dropped: int
    state: str
    busy: int = 0
    broken: int = 0


def verify(cache: BlobStore, progress: Progress = lambda _: None) -> Iterator[Verified]:
    """Hash all of `cache`, blob by blob.  Blocking; other processes may go on using it.

    Raises:
        CacheError: the disk cannot be read or written.
    """
    for digest in cache.digests():
        place = cache.place(digest)
        with disk_errors(place.folder):
            listed, broken = _look(place)
        found = _verify_one(cache, place, listed, progress)
        if found is not None:
            yield replace(found, broken=broken)
        elif broken:
            yield Verified(digest, listed, 0, 0, "partial", broken=broken)


def _look(place: HeldPlace) -> tuple[int, int]:
    """Remove what is no file of ours, and a list that has rotted.

    Returns:
        The blob's size as its list says it, 0 without one, and how many files were removed.
    """
    broken = sum(map(remove_foreign, (place.sealed, place.data, place.chunks, place.map)))
    if exists_at(place.sealed) and not _size(place.sealed):
        unlink_at(place.sealed)  # no blob is empty
        broken += 1
    try:
        packed = read_plain(place.chunks, MAX_PACKED_SIZE)
    except OSError:
        packed = b""
    size = size_of(packed)
    try:
        unpack(packed, size)
    except InvalidChunkList:
        size = 0
        with contextlib.suppress(FileNotFoundError):
            unlink_at(place.chunks)
            broken += 1
    return size, broken


def _verify_one(cache: BlobStore, place: HeldPlace, listed: int, progress: Progress) -> Verified | None:
    """One blob; None when nothing of it is here."""
    digest, sealed, data = place.digest, _size(place.sealed), _size(place.data)
    size = sealed or data
    if listed not in (0, size) and not sealed and exists_at(place.data):
        # Cut off, or longer than it can be: opening it replaces it, for which part of it is right nobody can say.
        cache.chunker(Blob(digest, listed), ChunkList.uniform(listed, listed)).close()
        return Verified(digest, listed, 0, data or listed, "partial")
    if not 0 < size <= MAX_BLOB_SIZE:
        return None
    chunks = _chunk_list(cache, Blob(digest, size), sealed=bool(sealed))
    if chunks is not None:
        chunker = cache.chunker(Blob(digest, size), chunks, doubt=chunks.unlisted)
        try:
            return _verify_chunks(chunker, progress)
        finally:
            chunker.close()
    if sealed:
        return _verify_whole(place, size, progress)
    if exists_at(place.map):
        with disk_errors(place.map):
            doubt(place.map)  # it cannot be checked now, so it is when its list has come again
    return Verified(digest, size, _allocated(place.data), 0, "unproved")


def total(cache: BlobStore) -> int:
    """Bytes on disk, about as many as `verify` will hash."""
    places = [cache.place(digest) for digest in cache.digests()]
    return sum(_allocated(place.sealed) + _allocated(place.data) for place in places)


def _chunk_list(cache: BlobStore, blob: Blob, *, sealed: bool) -> ChunkList | None:
    """The list to verify by: the pinned one, or the blob's own digest where it is its own only chunk.

    Of what arrived without a list the slots say at least what has rotted since; of a sealed blob its digest says more.
    """
    pinned = cache.pinned_list(blob, unlisted_too=not sealed)
    if pinned is None and blob.digest.is_sha256 and len(peek(cache.place(blob.digest).map, blob)) == 1:
        return ChunkList.single(blob)
    return pinned


def _verify_chunks(chunker: Chunker, progress: Progress) -> Verified:
    present = dropped = busy = 0
    for index, chunk in enumerate(chunker.chunks):
        if chunker.map[index] == ABSENT:
            continue
        if chunker.chunks.known(index) is None:
            present += chunk.size  # nobody has kept its digest: the whole decides
            continue
        if not chunker.try_lock(index):
            busy += 1
            continue
        try:
            if not chunker.map.speaks_of(chunker.chunks):
                busy += 1  # proved as a whole since, and so by another list than is open here
            elif chunker.matches(index):
                present += chunk.size
                chunker.mark(index, chunker.taken)
            else:
                dropped += chunk.size
                if chunker.sealed:
                    unseal(chunker)
                chunker.mark(index, ABSENT)
        finally:
            chunker.unlock(index)
        progress(chunk.size)
    state = "sealed" if chunker.sealed else "unproved" if chunker.chunks.unlisted else "partial"
    return Verified(chunker.blob.digest, chunker.blob.size, present, dropped, state, busy)


def _verify_whole(place: HeldPlace, size: int, progress: Progress) -> Verified:
    """A sealed blob that has no list (somebody else's store): its own digest decides, and a wrong one is removed."""
    with disk_errors(place.sealed):
        fd = open_at(place.sealed, os.O_RDONLY)
        with open(fd, "rb", buffering=0) as file:
            actual = hexdigest_of(file, place.digest, os.fstat(fd).st_size, progress)
        if actual == place.digest.hex:
            return Verified(place.digest, size, size, 0, "sealed")
        unlink_at(place.sealed)
    return Verified(place.digest, size, 0, size, "partial")


def _size(path: Spot) -> int:
    with contextlib.suppress(OSError):
        return stat_at(path).st_size
    return 0


def _allocated(path: Spot) -> int:
    with contextlib.suppress(OSError):
        return stat_at(path).st_blocks * 512
    return 0
