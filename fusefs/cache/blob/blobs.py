"""BlobStore: a directory of blobs named by their digest.

`blobs/sha256-<hex>` holds what is proved whole, `partial/` what is not yet (`fusefs.cache.blob.chunker`), `quarantine/`
what turned out to be a lie.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.cache.blob.mapfile import PRESENT, peek
from fusefs.cache.blob.opening import open_chunker, pinned_list, pinned_voucher
from fusefs.cache.blob.setup import BlobSetup
from fusefs.cache.place import HeldPlace, Place
from fusefs.errors import DigestMismatch, InvalidDigest, NotCached
from fusefs.system.features import REFUSED
from fusefs.system.files import (
    copy_exactly,
    disk_errors,
    read_plain,
    remove_foreign,
    sync_folder,
    temporary_file,
)
from fusefs.system.spot import Held, names_at, replace_at, unlink_at
from fusefs.system.steps import step
from fusefs.values.digest import SHA256, Digest
from fusefs.values.voucher import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.blob.room import Room
    from fusefs.cache.memory.budget import Memory
    from fusefs.system.files import Reader
    from fusefs.system.spot import Where
    from fusefs.values.chunks import Blob, ChunkList
    from fusefs.values.voucher import Voucher


@dataclass(frozen=True, slots=True)
class SealedBlob:
    """A sealed blob.

    Attributes:
        digest: its name.
        size: in bytes.
        mtime: when it was sealed, in seconds since 1970.
    """

    digest: Digest
    size: int
    mtime: float


class BlobStore:
    """Blocking; thread-safe; several processes may use one directory at once.

    Attributes:
        root: the directory, absolute, as it was named; for messages.
        held: the same, held open: everything is reached from here, and nothing by path.
        memory: chunks that the disk would not take, and those that were fetched a moment ago.
    """

    def __init__(self, root: Path, held: Held, memory: Memory, room: Room) -> None:
        """`room` is asked before anything is written to a chunk."""
        self.root = root
        self.held = held
        self.memory = memory
        self._room = room
        self._open_here: weakref.WeakSet[Chunker] = weakref.WeakSet()
        self._lock = threading.Lock()

    # Whole blobs

    def place(self, digest: Digest) -> HeldPlace:
        """Where the files of a blob lie, or would."""
        return Place(self.held.spot, digest)

    def path(self, digest: Digest) -> Path:
        """Where others find the sealed blob, or would; for messages and links, and never to open it."""
        return self.place(digest).sealed.path

    def get(self, digest: Digest) -> SealedBlob:
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
        return SealedBlob(digest, info.st_size, info.st_mtime)

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
            DigestMismatch, UnexpectedEnd, SizeMismatch: and nothing has changed.
            CacheFull, CacheError: the disk does not take it; nothing has changed.
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
        """Store `size` bytes whose digest is not known beforehand, and return it.

        Raises:
            UnexpectedEnd, SizeMismatch, CacheFull, CacheError: and nothing has changed.
        """
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

    # Blobs chunk by chunk

    def pinned(self, blob: Blob) -> tuple[ChunkList, Voucher] | None:
        """The chunk list that lies beside the blob, and who stands behind it; None without one, or when it is torn."""
        return pinned_list(self.place(blob.digest), blob)

    def pinned_list(self, blob: Blob, *, unlisted_too: bool = False) -> ChunkList | None:
        """The list alone; by default none of an unlisted blob, by which no chunk is proved."""
        pinned = pinned_list(self.place(blob.digest), blob, unlisted_too=unlisted_too)
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

    def chunker(
        self,
        blob: Blob,
        chunks: ChunkList,
        voucher: Voucher = UNKNOWN,
        *,
        doubt: bool = False,
        readers: list[tuple[int, int]] | None = None,
    ) -> Chunker:
        """Open a blob for reading and writing chunk by chunk; `chunks` is pinned with its `voucher`.

        By default no better one is claimed than what the cache knows of this list already.
        A disk that takes nothing more gives a Chunker that lives in memory (P8).  With `doubt` every chunk is hashed
        again before it is served, although it was proved in this boot.  Nothing of `readers`, byte ranges [start, stop)
        that somebody waits for, is evicted; the list may change.

        Raises:
            CacheError: the files of the blob cannot be used.
        """
        waiting = [] if readers is None else readers
        setup = BlobSetup(self.place(blob.digest), blob, chunks, voucher, self.memory, self._room, waiting)
        chunker = open_chunker(setup, doubt=doubt)
        with self._lock:
            self._open_here.add(chunker)
        return chunker

    def open_here(self) -> list[Chunker]:
        """The blobs that this process has open chunk by chunk."""
        with self._lock:
            return [chunker for chunker in self._open_here if chunker.map.fd >= 0]

    def digests(self) -> Iterator[Digest]:
        """Every blob of which the cache has a byte or a list, each once, in order."""
        found = set()
        for folder in ("blobs", "partial"):
            with contextlib.suppress(OSError):
                for name in names_at(self.held / folder):
                    with contextlib.suppress(InvalidDigest):
                        found.add(Digest.from_file_name(name))
        return iter(sorted(found))
