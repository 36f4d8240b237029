"""Eviction: take bytes off the disk again, chunk by chunk, without anybody reading the hole (P2).

One chunk's end, all under `Lock.CHANGE` and with nobody else having the blob open (`alone`):
    its lock → mark ABSENT → count the eviction → punch a hole → unlock.

Who could meet the hole, and why nobody does:
    A reader of this process looks at `Usage.evictions` before it looks at the map and after it has its bytes; when
    the number has changed, it begins again (`fusefs.vfs.blobfile`).  What a reader waits for is not taken at all.
    A worker that wants the chunk again cannot have its lock before the hole is there: the locks here belong to an open
    file of their own, so that they hold against the threads of this process, too.
    The running hash reads back under `PrefixHash.lock`, which is held here while chunks are marked.
    Another process that has the blob open: nothing of it is evicted.
    A kernel that reads the sealed file without us (passthrough): see `fusefs.cache.blob.backing`.
    A program that has opened a sealed blob in the cache by its path (a symbolic link, `ollama serve`) holds none of our
    locks.  A lease (fcntl(2), F_SETLEASE) tells whether there is one, and then nothing is punched; a blob that goes as
    a whole is unlinked, and such a program keeps what it has open.  Where no lease is granted to anybody (NFS, or a
    disk that root has mounted for all) nobody can tell, and a sealed blob goes as a whole.

A sealed blob first loses its final name: what has it is whole (P4).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fusefs.cache.blob.backing import alone, is_read_past_us
from fusefs.cache.blob.mapfile import ABSENT, CLAIMED, PRESENT, Lock, chunk_lock, last_use, open_locked
from fusefs.cache.blob.native import set_native
from fusefs.cache.blob.sealing import reopen
from fusefs.cache.blob.usage import order
from fusefs.errors import InvalidDigest
from fusefs.system import locks
from fusefs.system.features import REFUSED, grants_leases
from fusefs.system.files import make_folder
from fusefs.system.leases import end_lease, is_waited_for, try_lease
from fusefs.system.spot import names_at, open_at, rename_at, rmdir_at, stat_at, unlink_at
from fusefs.system.steps import step
from fusefs.values.chunklimits import MAX_BLOB_SIZE
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from fusefs.cache.blob.blobs import BlobStore
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.place import HeldPlace
    from fusefs.cache.space.quota import Victim
    from fusefs.system.spot import Spot

_SEALING = 0.05
"""Seconds to wait for who looks whether the blob can be sealed; what is being hashed whole is not evicted."""

_SMALL = 64 << 10
"""Blobs up to this size stay: they free nothing, and configurations are what a mount needs to start offline (P7)."""

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # linux/falloc.h

_NOT_HERE = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV})


class NoHoles(OSError):
    """No part of a blob can be given back to the disk: the file system has no holes, or none that are safe."""


_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


@dataclass(frozen=True, slots=True)
class HeldBlob:
    """What the cache has of one blob.

    Attributes:
        digest: its name.
        size: bytes of the whole blob.
        allocated: bytes that it takes on disk.
        sealed: it was proved as a whole.
        last_use: when it was read last, or else written, in seconds since 1970.
    """

    digest: Digest
    size: int
    allocated: int
    sealed: bool
    last_use: float


def scan(store: BlobStore) -> list[HeldBlob]:
    """What the cache holds, least recently used first (see `usage.order`).  Takes no lock, changes nothing."""
    found: dict[Digest, HeldBlob] = {}
    for folder in ("partial", "blobs"):
        for digest, info in _look(store, folder):
            noted = last_use(store.place(digest).map) or info.st_mtime
            found[digest] = HeldBlob(digest, info.st_size, info.st_blocks * 512, folder == "blobs", noted)
    now = time.time()
    return sorted(found.values(), key=lambda held: order(held.last_use, now))


def used(store: BlobStore) -> int:
    """Bytes that all blobs take on disk."""
    return sum(info.st_blocks * 512 for folder in ("partial", "blobs") for _, info in _look(store, folder))


def oldest_chunks(chunker: Chunker) -> list[tuple[int, list[int]]]:
    """Chunks of an open blob that may go, those of one second of use together: (seconds since 1970, indices)."""
    if not _may_go(chunker):
        return []
    by_use: dict[int, list[int]] = {}
    for index, seconds in enumerate(chunker.usage.seconds):
        if chunker.map[index] in _GOES:
            by_use.setdefault(seconds, []).append(index)
    return list(by_use.items())


def _may_go(chunker: Chunker) -> bool:
    """Whether chunks may go one by one: each can be proved by itself when it has come again."""
    return not chunker.chunks.unlisted and not chunker.quarantined and min(chunker.fd, chunker.map.fd) >= 0


def evict(store: BlobStore, held: HeldBlob, wanted: int) -> int:
    """Free `wanted` bytes of one blob, from its end, or all of it.  Blocking, but short.

    Returns:
        Bytes that were freed; 0 when somebody uses it.

    Raises:
        OSError, CacheError: the disk does not let us.
    """
    for chunker in store.open_here():
        if chunker.blob.digest == held.digest:
            return evict_chunks(chunker, range(len(chunker.chunks) - 1, -1, -1), wanted)
    chunks = None
    if wanted < held.allocated and 0 < held.size <= MAX_BLOB_SIZE:
        chunks = store.pinned_list(Blob(held.digest, held.size))
    if chunks is None:
        return _remove(store.place(held.digest), held)
    chunker = store.chunker(Blob(held.digest, held.size), chunks)
    try:
        return evict_chunks(chunker, range(len(chunks) - 1, -1, -1), wanted)
    except NoHoles:
        pass  # it goes as a whole, when it is closed
    finally:
        chunker.close()
    return _remove(store.place(held.digest), held)


def evict_chunks(chunker: Chunker, indices: Iterable[int], wanted: int) -> int:
    """Free `wanted` bytes of an open blob, of its chunks `indices` in that order.  Blocking, but short.

    Returns:
        Bytes that were freed; 0 when another process, or a program that opened the sealed file, uses the blob.

    Raises:
        NoHoles: nothing can be taken out of a file here; it may go as a whole.
        OSError: the disk does not let us.
    """
    if not _may_go(chunker) or not chunker.seal_lock.acquire(timeout=_SEALING):
        return 0
    try:
        with chunker.map.locked(Lock.CHANGE), alone(chunker.map) as is_alone:
            if not is_alone or not _same(chunker.map.fd, chunker.place.map):
                return 0
            if os.fstat(chunker.fd).st_nlink > 1:
                return 0  # it has another name as well (`cp -al`): a hole in it would be a hole there
            _check_holes(chunker.map.fd)
            if chunker.sealed:
                with _nobody_has(chunker) as free:
                    return _punch_some(chunker, indices, wanted) if free else 0
            return _punch_some(chunker, indices, wanted)
    finally:
        chunker.seal_lock.release()


def _punch_some(chunker: Chunker, indices: Iterable[int], wanted: int) -> int:
    own = open_at(chunker.place.map, os.O_RDWR)
    try:
        victims = sorted(_take(chunker, own, indices, wanted))
        with chunker.prefix.lock:
            with step("victims absent"):
                for index in victims:
                    chunker.map.mark(index, ABSENT)
            chunker.usage.evictions += 1
        for start, stop in _ranges(chunker.chunks, victims):
            with step("hole punched"):
                _punch(chunker.fd, start, stop - start)
    finally:
        os.close(own)
    return sum(chunker.chunks[index].size for index in victims)


def _take(chunker: Chunker, own: int, indices: Iterable[int], wanted: int) -> Iterator[int]:
    """Lock chunks of `wanted` bytes together that may go."""
    left = wanted
    for index in indices:
        if left <= 0:
            return
        chunk = chunker.chunks[index]
        if chunker.map[index] not in _GOES or chunker.usage.is_read(chunk.start, chunk.stop):
            continue
        if locks.try_lock(own, chunk_lock(index)):
            left -= chunk.size
            yield index


_GOES = (PRESENT, CLAIMED)


def _ranges(chunks: ChunkList, indices: Sequence[int]) -> list[tuple[int, int]]:
    """Byte ranges [start, stop) of chunks, neighbours joined."""
    ranges: list[tuple[int, int]] = []
    for index in indices:
        chunk = chunks[index]
        if ranges and ranges[-1][1] == chunk.start:
            ranges[-1] = ranges[-1][0], chunk.stop
        else:
            ranges.append((chunk.start, chunk.stop))
    return ranges


def _punch(fd: int, off: int, size: int) -> None:
    if _libc.fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, off, size):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _check_holes(fd: int) -> None:
    """Before anything is marked or renamed, on any file beside it: behind the end of a file a hole changes nothing.

    Raises:
        NoHoles: this file system has none.
        OSError: the disk does not let us.
    """
    try:
        _punch(fd, os.fstat(fd).st_size, 4096)
    except OSError as exc:
        if exc.errno in _NOT_HERE:
            raise NoHoles(exc.errno, exc.strerror) from exc
        raise


def has_holes(store: BlobStore, digest: Digest) -> bool:
    """Whether a part of this blob could be given back to the disk; takes nothing and changes nothing."""
    with contextlib.suppress(OSError):
        fd = open_at(store.place(digest).map, os.O_RDWR | os.O_NONBLOCK)
        try:
            _check_holes(fd)
        except NoHoles:
            return False
        finally:
            os.close(fd)
    return True


def _same(fd: int, path: Spot) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(fd), stat_at(path))
    return False


@contextlib.contextmanager
def _nobody_has(chunker: Chunker) -> Iterator[bool]:
    """Take the final name away from a sealed blob, unless a program has it open; while this lasts none can open it.

    Such a program would read the holes as zeros.  It cannot be asked for a lock, but the kernel grants a write lease
    only on a file that nobody else has open, and makes who opens it meanwhile wait.

    Raises:
        NoHoles: it grants none here at all.
    """
    place = chunker.place
    if not _same(chunker.fd, place.sealed):
        yield False
        return
    if not try_lease(chunker.fd):
        if not grants_leases(place.root / "partial"):
            raise NoHoles(errno.EOPNOTSUPP, "nobody can tell whether a program has the file open")
        yield False
        return
    with step("seal lifted"):
        rename_at(place.sealed, place.data)
    mine = False
    try:
        # Who had found the file before it was renamed waits for the lease by now, or is told that the name is gone.
        waited_for = is_waited_for(chunker.fd)
        end_lease(chunker.fd)
        if not waited_for:
            with REFUSED:
                os.fchmod(chunker.fd, 0o600)
            set_native(chunker.map.fd, native=False)  # whoever had it has closed it: the lease says so
            reopen(chunker)
            mine = try_lease(chunker.fd)
    finally:
        if not mine:
            chunker.became_sealed()
            with REFUSED:
                os.fchmod(chunker.fd, 0o400)
            rename_at(place.data, place.sealed)
    try:
        yield mine
    finally:
        end_lease(chunker.fd)


def _remove(place: HeldPlace, held: HeldBlob) -> int:
    """Remove all of a blob that nobody has open through us; who opened the sealed file keeps what he has."""
    make_folder(place.folder)
    try:
        fd = open_locked(place.map)
    except FileNotFoundError:
        return 0  # another process removes it
    try:
        if not locks.try_lock(fd, Lock.OPEN) or is_read_past_us(place, fd):
            return 0
        # The map last: a crash before that leaves one that speaks of data that is not there, which counts for nothing.
        for path in (place.sealed, place.data, place.chunks, place.map):
            with contextlib.suppress(FileNotFoundError):
                unlink_at(path)
        with contextlib.suppress(OSError):
            rmdir_at(place.folder)
    finally:
        os.close(fd)
    return held.allocated


def victims(store: BlobStore, stays: Container[Digest]) -> list[Victim]:
    """Everything that may go, chunk by chunk where the blob is open here, but for the blobs `stays`."""
    here = {chunker.blob.digest: chunker for chunker in store.open_here()}
    found: list[Victim] = []
    for digest, chunker in here.items():
        if digest not in stays:
            found += [(seconds, partial(evict_chunks, chunker, indices)) for seconds, indices in oldest_chunks(chunker)]
    for held in scan(store):
        if held.allocated > _SMALL and held.digest not in stays and held.digest not in here:
            found.append((held.last_use, partial(evict, store, held)))
    return found


def _look(store: BlobStore, folder: str) -> Iterator[tuple[Digest, os.stat_result]]:
    """Digest and status of each file of bytes in `blobs` or `partial`."""
    try:
        names = names_at(store.held / folder)
    except OSError:
        return
    for name in names:
        with contextlib.suppress(InvalidDigest, OSError):
            digest = Digest.from_file_name(name)
            info = stat_at(store.held / (f"{folder}/{name}/data" if folder == "partial" else f"{folder}/{name}"))
            if stat.S_ISREG(info.st_mode):
                yield digest, info
