"""DiskCache: a directory of blobs named by their digest, and of manifests named by their model.

`blobs/sha256-<hex>` and `manifests/<host>/<namespace>/<model>/<tag>` are an OLLAMA_MODELS store; `partial/` holds what
is not proved yet (`fusefs.cache.blob.chunker`), `quarantine/` what turned out to be a lie, `starts/` the recorded
starts (`fusefs.cache.documents.traces`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.cache.blob.chunkmap import PRESENT, Lock, note_use, open_locked, peek
from fusefs.cache.blob.opening import open_chunker, pinned_list, pinned_voucher
from fusefs.cache.documents.links import Links
from fusefs.cache.documents.pins import Pins
from fusefs.cache.documents.traces import Starts
from fusefs.cache.guard import guard, make
from fusefs.cache.memory.budget import Memory
from fusefs.cache.place import HeldPlace, Place
from fusefs.cache.space.quota import DEFAULT_LIMITS, Limits, Quota
from fusefs.errors import CacheError, DigestMismatch, InvalidDigest, NotCached
from fusefs.system.features import REFUSED, Features, features_of
from fusefs.system.files import (
    copy_exactly,
    disk_errors,
    open_inside,
    read_plain,
    reader_of,
    remove_foreign,
    sweep,
    sync_folder,
    temporary_file,
)
from fusefs.system.locks import try_lock, unlock
from fusefs.system.parents import check_parents, make_parents
from fusefs.system.spot import Held, is_folder_at, names_at, replace_at, unlink_at
from fusefs.system.steps import step
from fusefs.values.chunkpack import MAX_PACKED_SIZE
from fusefs.values.digest import SHA256, Digest
from fusefs.values.voucher import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.system.files import Reader
    from fusefs.system.spot import Spot, Where
    from fusefs.values.chunks import Blob, ChunkList
    from fusefs.values.names import Name
    from fusefs.values.trace import Start
    from fusefs.values.voucher import Voucher

MOST_HELD = 512
"""Each takes a file descriptor, of which a process has a thousand."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A sealed blob.

    Attributes:
        digest: its name.
        size: in bytes.
        mtime: when it was sealed, in seconds since 1970.
    """

    digest: Digest
    size: int
    mtime: float


class DiskCache:
    """Blocking; thread-safe; several processes may use one directory at once.

    Attributes:
        root: the directory, absolute, as it was named; for messages.
        held: the same, held open: everything is reached from here, and nothing by path.
        links: the manifests by name.
        memory: chunks that the disk would not take, and those that were fetched a moment ago.
        starts: in what order blobs were read before.
        pins: models of which nothing is evicted.
        quota: how much of the disk the blobs may take, and what makes room.
        features: what its file system can keep.
    """

    def __init__(
        self,
        root: Path,
        *,
        spill_capacity: int = 128 << 20,
        stores: Sequence[Path] = (),
        limits: Limits = DEFAULT_LIMITS,
        shared: bool = False,
        held: Held | None = None,
    ) -> None:
        self.root = root
        self.held = held or Held(root)
        self._shared, self.features = shared, Features()
        self.links = Links(self.held / "manifests", self.held / "partial")
        self.memory = Memory(spill_capacity)
        self.starts = Starts(self.held.spot, stores)
        self.pins = Pins(self.held / "pins", self.links, self.held / "partial")
        self.quota = Quota(self, limits)
        self._open_here: weakref.WeakSet[Chunker] = weakref.WeakSet()
        self._held: list[int] = []
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        directory: str | Path,
        *,
        spill_capacity: int = 128 << 20,
        stores: Sequence[Path] = (),
        limits: Limits = DEFAULT_LIMITS,
        shared: bool = False,
    ) -> DiskCache:
        """Use `directory`, made if need be.  Recorded starts are also looked for in `stores`.

        It is closed to other users; with `shared` they can read those sealed blobs that are held (`hold`).

        Raises:
            CacheError: it cannot be used, or others could change it; why, and what to do.
        """
        if not str(directory):
            raise CacheError("empty directory name for the cache")
        root = Path(os.path.abspath(directory))
        held: Held | None = None
        features = Features()
        try:
            check_parents(root)
            make_parents(root)
            root.mkdir(mode=0o700, exist_ok=True)
            held = Held(root)
            guard(held, shared=shared)
            for name in ("blobs", "manifests", "partial"):
                make(held / name, shared=shared and name == "blobs")
            features = features_of(held / "partial")  # a directory on a read-only disk exists, too
        except (FileExistsError, NotADirectoryError) as exc:
            raise CacheError(f"cache directory {root}: not a directory") from exc
        except OSError as exc:
            # A full disk is not an error (P8): what is there can be read, and the rest goes through memory.
            full = exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
            if held is None or not full or not is_folder_at(held / "partial"):
                why = f"cannot be written ({exc.strerror or exc}); name another with --cache-dir"
                raise CacheError(f"cache directory {root} {why}") from exc
        sweep(held / "partial")
        cache = cls(root, spill_capacity=spill_capacity, stores=stores, limits=limits, shared=shared, held=held)
        cache.features = features
        return cache

    # Whole blobs

    def place(self, digest: Digest) -> HeldPlace:
        """Where the files of a blob lie, or would."""
        return Place(self.held.spot, digest)

    def path(self, digest: Digest) -> Path:
        """Where others find the sealed blob, or would; for messages and links, and never to open it."""
        return self.place(digest).sealed.path

    def get(self, digest: Digest) -> Entry:
        """Size and time of a sealed blob.

        Raises:
            NotCached: there is none, or it is empty, or the digest is all zeros.
        """
        try:
            # As text: `ls -lR` of a large store asks for each of 20,000 blobs.
            info = os.stat("blobs/" + digest.file_name, dir_fd=self.held.fd, follow_symlinks=False)
        except OSError:
            info = None
        if info is None or not stat.S_ISREG(info.st_mode) or not info.st_size or not int(digest.hex, 16):
            raise NotCached(f"{digest}: not in the cache")
        return Entry(digest, info.st_size, info.st_mtime)

    def put(self, digest: Digest, reader: Reader, size: int, *, durable: bool = True, mtime: int | None = None) -> bool:
        """Store a blob of exactly `size` bytes.  A second put of a sealed blob does nothing.

        Args:
            digest: what it must have.
            reader: where it comes from.
            size: in bytes.
            durable: wait until the disk has it; else a power cut may leave a part of it, which `read` notices.
            mtime: the time it shows, in seconds since 1970; now, when it is None.

        Returns:
            True when it was not there.

        Raises:
            DigestMismatch, UnexpectedEnd, SizeMismatch, CacheFull, CacheError: and nothing has changed.
        """
        with contextlib.suppress(NotCached):
            if self.get(digest).size == size:
                return False
        with disk_errors(self.path(digest)), temporary_file(self.held / "partial") as (fd, temporary):
            copy_exactly(reader, fd, size, str(digest), hasher := digest.hasher(size))
            if hasher.hexdigest() != digest.hex:
                raise DigestMismatch("blob", expected=digest, actual=f"{digest.algorithm}:{hasher.hexdigest()}")
            if mtime is not None:
                with REFUSED:
                    os.utime(fd, (mtime, mtime))
            self._publish(fd, temporary, digest, durable=durable)
        return True

    def import_blob(self, reader: Reader, size: int) -> Digest:
        """Store `size` bytes whose digest is not known beforehand, and return it; raises as `put`."""
        with disk_errors(self.root), temporary_file(self.held / "partial") as (fd, temporary):
            copy_exactly(reader, fd, size, "import", hasher := hashlib.sha256())
            digest = Digest(SHA256, hasher.hexdigest())
            self._publish(fd, temporary, digest)
        return digest

    def _publish(self, fd: int, temporary: Where, digest: Digest, *, durable: bool = True) -> None:
        with REFUSED:
            os.fchmod(fd, 0o400)
        if durable:
            os.fsync(fd)
        sealed = self.place(digest).sealed
        remove_foreign(sealed)
        with step("blob named"):
            replace_at(temporary, sealed)
        if durable:
            sync_folder(sealed.parent)

    def read(self, digest: Digest, limit: int) -> bytes:
        """A small blob, checked against its digest.

        Raises:
            NotCached: it is not there, or longer than `limit` bytes.
            DigestMismatch: it has changed on disk, and was removed.
        """
        if self.get(digest).size > limit:
            raise NotCached(f"{digest}: longer than {limit} bytes")
        sealed = self.place(digest).sealed
        with disk_errors(sealed):
            data = read_plain(sealed, limit)
        if not digest.matches(data):
            with contextlib.suppress(OSError):
                unlink_at(sealed)  # or `put` would take it for the blob
            raise DigestMismatch("cached blob", expected=digest, actual=Digest.of(data))
        return data

    # Names

    def link(self, name: Name, digest: Digest) -> None:
        """Let `name` stand for the manifest `digest`, which must be a blob of the cache.

        Raises:
            NotCached: it is not; nothing has changed.
        """
        data = self.read(digest, MAX_PACKED_SIZE)
        with disk_errors(self.root / "manifests"):
            self.links.write(name, data)

    def unlink(self, name: Name) -> bool:
        """Forget `name`; True when it was there."""
        with disk_errors(self.root / "manifests"):
            return self.links.remove(name)

    def resolve(self, text: str) -> Digest:
        """The manifest's digest for `host/namespace/model:tag`, `name@digest` or `@digest`.

        A digest in the text is taken without looking.  A manifest file that somebody wrote by hand becomes a blob.

        Raises:
            InvalidName, InvalidDigest: not one of these forms.
            NotCached: no such link.
        """
        name, at, digest = text.partition("@")
        parsed = self.links.parse(name) if name or not at else None
        if at:
            return Digest.parse(digest)
        assert parsed is not None
        data = self.links.read(parsed)
        found = Digest.of(data)
        self.put(found, reader_of(data), len(data))
        return found

    # Blobs chunk by chunk

    def pinned(self, blob: Blob) -> tuple[ChunkList, Voucher] | None:
        """The chunk list that lies beside the blob, and who stands behind it; None without one, or when it is torn."""
        return pinned_list(self.place(blob.digest), blob)

    def pinned_list(self, blob: Blob) -> ChunkList | None:
        """The list alone."""
        pinned = self.pinned(blob)
        return None if pinned is None else pinned[0]

    def voucher(self, blob: Blob) -> Voucher:
        """Who stands behind the list that lies beside the blob, without reading it; short."""
        return pinned_voucher(self.place(blob.digest))

    def states(self, blob: Blob) -> bytes:
        """The states of the chunks of an unsealed blob, a byte each; opens and locks nothing, empty when unknown."""
        return peek(self.held / f"partial/{blob.digest.file_name}/map", blob)

    def proved(self, blob: Blob) -> bool:
        """True when the blob is sealed, and every chunk of it was proved since the machine booted."""
        try:
            if self.get(blob.digest).size != blob.size:
                return False
        except NotCached:
            return False
        return set(self.states(blob)) == {PRESENT}

    def chunker(self, blob: Blob, chunks: ChunkList, voucher: Voucher = UNKNOWN, *, doubt: bool = False) -> Chunker:
        """Open a blob for reading and writing chunk by chunk; `chunks` is pinned with its `voucher`.

        By default no better one is claimed than what the cache knows of this list already.
        A disk that takes nothing more gives a Chunker that lives in memory (P8).  With `doubt` every chunk is hashed
        again before it is served, although it was proved in this boot.

        Raises:
            CacheError: the files of the blob cannot be used.
        """
        place = self.place(blob.digest)
        chunker = open_chunker(place, blob, chunks, voucher, self.memory, self.quota, doubt=doubt)
        with self._lock:
            self._open_here.add(chunker)
        return chunker

    def open_here(self) -> list[Chunker]:
        """The blobs that this process has open chunk by chunk."""
        with self._lock:
            return [chunker for chunker in self._open_here if chunker.map.fd >= 0]

    def hold(self, digest: Digest) -> bool:
        """Keep a sealed blob where it is until `release`: somebody was told its path.  False when that cannot be."""
        if len(self._held) >= MOST_HELD:
            return False
        place = self.place(digest)
        try:
            fd = open_locked(place.map)
        except OSError:
            return False
        self._held.append(fd)
        try_lock(fd, Lock.OPEN, shared=True)
        with contextlib.suppress(OSError):
            note_use(fd, int(time.time()))
        unlock(fd, Lock.CHANGE)
        return self._shared_out(place.sealed)

    def _shared_out(self, spot: Spot) -> bool:
        """Whether a sealed blob is there and where its path leads; others may read it from now on in a shared cache."""
        try:
            fd = open_inside(spot, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            if not os.path.samestat(os.lstat(spot.path), os.fstat(fd)):
                return False
            if self._shared:
                os.fchmod(fd, 0o444)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def release(self) -> None:
        """Let go of what was held."""
        while self._held:
            os.close(self._held.pop())

    # Recorded starts

    def start(self, blob: Blob) -> Start | None:
        """In what order the blob's bytes were first wanted the last time; None when that is not known."""
        return self.starts.read(blob)

    def put_start(self, blob: Blob, start: Start) -> None:
        """Keep `start` for the next cold load, where the disk takes it.

        Raises:
            InvalidStart: its ranges are none of this blob, or too many.
        """
        self.starts.write(blob, start)

    def digests(self) -> Iterator[Digest]:
        """Every blob of which the cache has a byte or a list, each once, in order."""
        found = set()
        for folder in ("blobs", "partial"):
            with contextlib.suppress(OSError):
                for name in names_at(self.held / folder):
                    with contextlib.suppress(InvalidDigest):
                        found.add(Digest.from_file_name(name))
        return iter(sorted(found))
