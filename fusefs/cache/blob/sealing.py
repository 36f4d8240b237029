"""Sealing: prove a whole blob and give it its final name, or find out who lied.

    seal:    under Lock.SEAL  hash what the running hash lacks → compare → fsync → (Lock.CHANGE) rename data to the
             final name
    judge:   the whole does not match.  Hash every chunk again: one that does not match its own digest has rotten on
             disk and is dropped, to be fetched again; when all match, the list lied: quarantine.
    unseal:  a sealed blob of an earlier boot has a rotten chunk: take the final name away, so that the chunk can be
             written again and the whole be proved again.

A crash at any point leaves either `data` or the final name, and the map; nothing is lost.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import TYPE_CHECKING

from fusefs.cache.blob.backing import Repair, repair_of
from fusefs.cache.blob.mapfile import ABSENT, ARRIVED, CLAIMED, PRESENT, Lock
from fusefs.cache.blob.native import set_native
from fusefs.cache.blob.standstill import standstill
from fusefs.errors import BlobQuarantined, DigestMismatch, InvalidChunkList, Superseded
from fusefs.system.features import REFUSED
from fusefs.system.files import disk_errors, holds, make_folder, read_plain, sync_folder, write_atomically
from fusefs.system.spot import exists_at, open_at, remove_tree_at, rename_at, stat_at, unlink_at
from fusefs.system.steps import step
from fusefs.values.chunkpack import MAX_PACKED_SIZE, pack, unpack
from fusefs.values.voucher import BOUND, Proof

if TYPE_CHECKING:
    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.place import HeldPlace
    from fusefs.system.spot import Spot
    from fusefs.values.chunks import ChunkList

log = logging.getLogger(__name__)


def seal(chunker: Chunker) -> bool:
    """Prove the whole blob.  Blocking, and long for what was not hashed on arrival.

    Returns:
        True when the blob is sealed and all its chunks are PRESENT; False when chunks are missing after all.

    Raises:
        BlobQuarantined: the chunk list lied.
        DigestMismatch: a blob without a list is not what its digest says; everything of it was dropped.
        Superseded: the files that are open were removed, or another process has put other ones in their place.
        CacheFull, CacheError: the disk does not let us.
    """
    with disk_errors(chunker.place.map), chunker.seal_lock, chunker.map.locked(Lock.SEAL):
        if chunker.quarantined:
            raise BlobQuarantined(f"{chunker.blob.digest}: its chunk list does not belong to it")
        if chunker.sealed and not chunker.by_whole:
            return chunker.complete
        if not chunker.sealed and _sealed_by_another(chunker):
            return chunker.complete
        if chunker.map.fd < 0 and not chunker.sealed:
            return False  # without a map on disk there are no locks
        # Where the whole decides a claimed chunk is as good as an arrived one; of a sealed blob it has been right once.
        by_whole = chunker.chunks.unlisted or (chunker.sealed and chunker.by_whole)
        known = (PRESENT, ARRIVED, CLAIMED) if by_whole else (PRESENT, ARRIVED)
        with chunker.prefix.lock:
            while chunker.prefix.index < len(chunker.chunks):
                if chunker.map[chunker.prefix.index] not in known:
                    return False
                chunker.prefix.take_next()
            actual = chunker.prefix.hexdigest()
        if actual != chunker.blob.digest.hex:
            return _judge(chunker, actual)
        with disk_errors(chunker.place.sealed):
            if not chunker.sealed:
                with step("data fsynced"):
                    os.fsync(chunker.fd)
            if chunker.chunks.complete:
                return _finish(chunker, known)
            # A chunk without a fixed digest is taken anew by who finds it wrong, or proved otherwise: not while the
            # marks become those of the complete list, by which what was hashed is right.
            with standstill(chunker.map, len(chunker.chunks)):
                return _finish(chunker, known)


def unseal(chunker: Chunker) -> None:
    """Take the final name away from a blob that needs repair.

    It keeps it in a cache that cannot be written, and as long as a kernel reads the file for another process.
    """
    place = chunker.place
    log.warning("%s: the sealed blob has changed on disk; it will be repaired", chunker.blob.digest)
    with contextlib.suppress(OSError), chunker.map.locked(Lock.CHANGE):
        info = os.fstat(chunker.fd)
        if not os.path.samestat(info, stat_at(place.sealed)):
            return  # replaced since: whoever opens the blob next looks at what lies there
        repair = repair_of(chunker)
        if repair is Repair.NOT_NOW:
            return
        if repair is Repair.IN_A_COPY:
            _copy(chunker.fd, place.data)
            unlink_at(place.sealed)
        else:
            with step("seal taken away"):
                rename_at(place.sealed, place.data)
            with step("data writable"), REFUSED:
                os.fchmod(chunker.fd, 0o600)
        reopen(chunker)
        set_native(chunker.map.fd, native=False)


def _copy(fd: int, path: Spot) -> None:
    """Copy all of a file to `path`.

    Raises:
        OSError: the disk does not take it; there is nothing at `path`.
    """
    with contextlib.suppress(FileNotFoundError):
        unlink_at(path)
    copy = open_at(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        off, size = 0, os.fstat(fd).st_size
        while off < size:
            done = os.copy_file_range(fd, copy, size - off, off, off)
            if not done:
                break  # it is being cut off: what is missing is as rotten as the rest
            off += done
        os.ftruncate(copy, size)
    except OSError:
        unlink_at(path)
        raise
    finally:
        os.close(copy)


def reopen(chunker: Chunker) -> None:
    """The sealed file has lost its final name: from now on it may be written.  The caller holds `Lock.CHANGE`.

    Raises:
        OSError: it cannot be opened so.
    """
    fd = open_at(chunker.place.data, os.O_RDWR)
    # The same number: readers that are just using it go on with the same file.
    try:
        with step("data reopened"):
            os.dup2(fd, chunker.fd, inheritable=False)
    finally:
        os.close(fd)
    chunker.became_partial()
    with chunker.prefix.lock:
        chunker.prefix.reset()


def _sealed_by_another(chunker: Chunker) -> bool:
    """True when another process has sealed this very file meanwhile."""
    place = chunker.place
    if not _lies_at(chunker, place.sealed):
        return False
    try:
        if not chunker.chunks.complete or chunker.by_whole:
            chunks, voucher = unpack(read_plain(place.chunks, MAX_PACKED_SIZE), chunker.blob.size)
            if not chunks.complete or (chunker.chunks.complete and chunks != chunker.chunks):
                return False
            if chunks.starts != chunker.chunks.starts:
                return False  # bound by a third one since, with other chunks than the map has that is open here
            chunker.relisted(chunks, voucher)
    except (OSError, InvalidChunkList):
        return False
    chunker.became_sealed()
    return True


def _lies_at(chunker: Chunker, path: Spot) -> bool:
    """Whether the file that is open is the one at `path`."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(chunker.fd), stat_at(path))
    return False


def _superseded(place: HeldPlace) -> Superseded:
    if not exists_at(place.data):
        return Superseded(f"{place.data}: {os.strerror(errno.ENOENT)}: it was removed while it was in use")
    return Superseded(f"{place.data}: another process has replaced the data of this blob")


def _judge(chunker: Chunker, actual: str) -> bool:
    """The whole blob does not match: say why."""
    blob = chunker.blob
    with chunker.prefix.lock:
        chunker.prefix.reset()
    if chunker.sealed:
        unseal(chunker)
    chunks = chunker.chunks
    unknown = [i for i in range(len(chunks)) if chunks.known(i) is None]
    # A chunk that is not what its list or its slot says has rotted, whoever lied.
    rotten = [i for i in sorted({*range(len(chunks))} - {*unknown}) if not chunker.matches(i)]
    chunks.slots.forget()
    with disk_errors(chunker.place.map):
        if rotten:
            log.warning("%s: %d chunks have changed on disk and are fetched again", blob.digest, len(rotten))
            for i in rotten:
                chunker.map.mark(i, ABSENT)
            return False
        if chunks.unlisted or unknown:
            # What nobody vouches for has come wrong: all of it, or of an evidenced list what has no slot.
            for i in range(len(chunks)) if chunks.unlisted else unknown:
                chunker.map.mark(i, ABSENT)
            raise DigestMismatch("the whole blob", expected=blob.digest, actual=f"{blob.digest.algorithm}:{actual}")
    quarantine(chunker)
    raise BlobQuarantined(f"{blob.digest}: every chunk matches its list, the whole does not: the list lied")


def _is_hashed_otherwise(chunker: Chunker) -> bool:
    """Whether a chunk lies on disk otherwise than it went into the running hash, or nobody can say.

    Another process may have dropped what nobody proves since, for want of the right digest, and taken other bytes.  It
    has filled the slots again, or emptied them.  A slot that is other by rot alone matters no more: what counts is what
    was hashed.
    """
    chunks = chunker.chunks
    seen = chunks.slots.all_seen(len(chunks))
    if seen is None:
        return True
    # Nobody writes to a sealed blob without a list, and hashing a large one twice takes minutes.
    doubtful = [] if chunker.sealed and chunks.unlisted else chunks.slots.differing()
    return not all(holds(chunker.fd, chunks[index], seen[32 * index : 32 * index + 32]) for index in doubtful)


def quarantine(chunker: Chunker) -> None:
    """Put data and list of a blob whose list lied aside, for a person to look at; nothing of it is served again."""
    place = chunker.place
    log.warning(
        "%s: put into quarantine at %s: its chunk list (%s) does not belong to it",
        place.digest,
        place.quarantine,
        chunker.voucher,
    )
    try:
        # Before anything is moved: other processes that have the map open serve nothing from here on.
        with contextlib.suppress(OSError):
            chunker.map.condemn()
        put_liar_aside(chunker)
    finally:
        # Only now: whoever sees the verdict opens the blob anew at once, and must not find the lying list again.
        chunker.condemn()
        chunker.memory.forget(chunker)


def put_liar_aside(chunker: Chunker) -> None:
    """Move what a condemned `chunker` has open into quarantine, unless somebody has done it.  Blocking, but short.

    Raises:
        LockHeld: somebody has the blob's files for too long.
    """
    place = chunker.place
    with contextlib.suppress(OSError), chunker.map.locked(Lock.CHANGE):
        if not os.path.samestat(os.fstat(chunker.map.fd), stat_at(place.map)):
            return  # another process was faster, and what lies there now may be right
        put_aside(place)


def put_aside(place: HeldPlace) -> None:
    """Move data, list and map of a blob into quarantine.  The caller holds `Lock.CHANGE`.

    Raises:
        OSError: as the kernel says.
    """
    make_folder(place.quarantine.parent)
    remove_tree_at(place.quarantine)
    with step("liar put aside"):
        rename_at(place.folder, place.quarantine)


def _finish(chunker: Chunker, known: tuple[int, ...]) -> bool:
    """Make what was hashed the sealed blob, if that is what lies on disk; False when it is not, or not all of it."""
    place, chunks = chunker.place, chunker.chunks
    if not chunker.map.all_in(known):
        return False  # in the hash while it was in memory; `verify` has found it rotten on disk since
    if _is_hashed_otherwise(chunker):
        with chunker.prefix.lock:
            chunker.prefix.reset()
        chunks.slots.forget()
        return False
    with chunker.map.locked(Lock.CHANGE):
        if not chunker.sealed and not _lies_at(chunker, place.sealed) and not _lies_at(chunker, place.data):
            raise _superseded(place)
        if not chunks.complete:
            # Of the bytes that were hashed, and not out of the slots: rot there would be bound for ever.
            digests = chunks.slots.all_seen(len(chunks))
            assert digests is not None, "each chunk has gone through the running hash"
            chunks = chunks.with_digests(digests)
            _pin_bound(chunker, chunks)
            # In this order, for a crash between the two: a complete list and chunks that merely arrived do not mix.
            chunker.map.mark_all(PRESENT)
            chunker.map.rebind(chunker.blob, chunks)
        elif chunker.voucher.proof != Proof.BOUND:
            if chunker.sealed:  # the hash of the whole has just read every claimed chunk
                chunker.map.mark_all(PRESENT)
            _pin_bound(chunker, chunks)
        chunker.bound(chunks)
        if not chunker.sealed and _lies_at(chunker, place.sealed):
            chunker.became_sealed()  # by another process, whose list is not there to be followed
        if not chunker.sealed:
            with step("data read-only"), REFUSED:
                os.fchmod(chunker.fd, 0o400)
            with step("data sealed"):
                rename_at(place.data, place.sealed)
            with step("seal fsynced"):
                sync_folder(place.sealed.parent)
            chunker.became_sealed()
            if chunker.direct:  # as long as it is open nobody can tell whether others have the file (`eviction`)
                chunker.direct.close()
    log.debug("%s: sealed", place.digest)
    return True


def _pin_bound(chunker: Chunker, chunks: ChunkList) -> None:
    """Keep that the sha256 of the whole blob matched with this list; without room for it that is found out again."""
    place = chunker.place
    with contextlib.suppress(OSError), step("list bound"):
        write_atomically(place.chunks, pack(chunks, BOUND), place.root / "partial", durable=False)
