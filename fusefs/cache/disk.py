"""DiskCache: a directory of blobs named by their digest, and of manifests named by their model.

`blobs/sha256-<hex>` and `manifests/<host>/<namespace>/<model>/<tag>` are an OLLAMA_MODELS store; `partial/` holds what
is not proved yet (`fusefs.cache.chunker`), `quarantine/` what turned out to be a lie, `starts/` the recorded starts
(`fusefs.cache.starts`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.cache.chunker import Chunker
from fusefs.cache.chunkmap import ABSENT, CLAIMED, PRESENT, ChunkMap, Lock, open_locked, peek
from fusefs.cache.data import open_data, open_regular
from fusefs.cache.files import (
    PIECE,
    disk_errors,
    pwrite_all,
    read_plain,
    reader_of,
    sweep,
    sync_folder,
    temporary_file,
    write_atomically,
)
from fusefs.cache.links import Links
from fusefs.cache.locks import try_lock, unlock
from fusefs.cache.memory import Memory
from fusefs.cache.place import Place
from fusefs.cache.starts import Starts
from fusefs.chunkpack import MAX_PACKED_SIZE, pack, unpack
from fusefs.digest import Digest
from fusefs.errors import (
    CacheError,
    CacheFull,
    DigestMismatch,
    InvalidChunkList,
    InvalidDigest,
    NotCached,
    SizeMismatch,
    UnexpectedEnd,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusefs.cache.files import Reader
    from fusefs.chunks import Blob, ChunkList
    from fusefs.names import Name
    from fusefs.starts import Start


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
        root: the directory, absolute.
        links: the manifests by name.
        memory: chunks that the disk would not take, and those that were fetched a moment ago.
        starts: in what order blobs were read before.
    """

    def __init__(self, root: Path, *, spill_capacity: int = 128 << 20, stores: Sequence[Path] = ()) -> None:
        self.root = root
        self.links = Links(root / "manifests", root / "partial")
        self.memory = Memory(spill_capacity)
        self.starts = Starts(root, stores)
        # As text: `ls -lR` of a large store asks for each of 20,000 blobs, and joining a Path takes longer than a stat.
        self._blobs, self._partial = f"{root}/blobs/", f"{root}/partial/"

    @classmethod
    def open(cls, directory: str | Path, *, spill_capacity: int = 128 << 20, stores: Sequence[Path] = ()) -> DiskCache:
        """Use `directory`, made if need be.  Recorded starts are also looked for in `stores`.

        Raises:
            CacheError: no name, not a directory, or it cannot be written, with what to do.
        """
        if not str(directory):
            raise CacheError("empty directory name for the cache")
        root = Path(os.path.abspath(directory))
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("blobs", "manifests", "partial"):
                (root / name).mkdir(exist_ok=True)
            with temporary_file(root / "partial"):
                pass  # a directory on a read-only disk exists, too
        except (FileExistsError, NotADirectoryError) as exc:
            raise CacheError(f"cache directory {root}: not a directory") from exc
        except OSError as exc:
            # A full disk is not an error (P8): what is there can be read, and the rest goes through memory.
            if not (root / "partial").is_dir() or exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                reason = exc.strerror or str(exc)
                raise CacheError(
                    f"cache directory {root} cannot be written ({reason}); name another with --cache-dir"
                ) from exc
        sweep(root / "partial")
        return cls(root, spill_capacity=spill_capacity, stores=stores)

    # Whole blobs

    def path(self, digest: Digest) -> Path:
        """Where the sealed blob lies, or would."""
        return Place(self.root, digest).sealed

    def get(self, digest: Digest) -> Entry:
        """Size and time of a sealed blob.

        Raises:
            NotCached: there is none, or it is empty, or the digest is all zeros.
        """
        try:
            info = os.lstat(self._blobs + digest.file_name)
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
            DigestMismatch, UnexpectedEnd, SizeMismatch: and nothing has changed.
            CacheFull, CacheError: the disk does not take it; nothing has changed.
        """
        with contextlib.suppress(NotCached):
            if self.get(digest).size == size:
                return False
        with disk_errors(self.path(digest)), temporary_file(self.root / "partial") as (fd, temporary):
            actual = _copy(reader, fd, size, str(digest))
            if actual != digest:
                raise DigestMismatch("blob", expected=digest, actual=actual)
            if mtime is not None:
                os.utime(fd, (mtime, mtime))
            self._publish(fd, temporary, digest, durable=durable)
        return True

    def import_blob(self, reader: Reader, size: int) -> Digest:
        """Store `size` bytes whose digest is not known beforehand, and return it.

        Raises:
            UnexpectedEnd, SizeMismatch, CacheFull, CacheError: and nothing has changed.
        """
        with disk_errors(self.root), temporary_file(self.root / "partial") as (fd, temporary):
            digest = _copy(reader, fd, size, "import")
            self._publish(fd, temporary, digest)
        return digest

    def _publish(self, fd: int, temporary: Path, digest: Digest, *, durable: bool = True) -> None:
        os.fchmod(fd, 0o444)
        if durable:
            os.fsync(fd)
        os.replace(temporary, self.path(digest))
        if durable:
            sync_folder(self.path(digest).parent)

    def read(self, digest: Digest, limit: int) -> bytes:
        """A small blob, checked against its digest.

        Raises:
            NotCached: it is not there, or longer than `limit` bytes.
            DigestMismatch: it has changed on disk, and was removed.
        """
        if self.get(digest).size > limit:
            raise NotCached(f"{digest}: longer than {limit} bytes")
        with disk_errors(self.path(digest)):
            data = self.path(digest).read_bytes()
        if Digest.of(data) != digest:
            with contextlib.suppress(OSError):
                os.unlink(self.path(digest))  # or `put` would take it for the blob
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

    def pinned_list(self, blob: Blob) -> ChunkList | None:
        """The chunk list that lies beside the blob; None without one, or when it is torn."""
        with contextlib.suppress(OSError, InvalidChunkList):
            packed = read_plain(Place(self.root, blob.digest).chunks, MAX_PACKED_SIZE)
            return unpack(packed, blob.size)[0]
        return None

    def states(self, blob: Blob) -> bytes:
        """The states of the chunks of an unsealed blob, a byte each; opens and locks nothing, empty when unknown."""
        return peek(f"{self._partial}{blob.digest.file_name}/map", blob)

    def proved(self, blob: Blob) -> bool:
        """True when the blob is sealed, and every chunk of it was proved since the machine booted."""
        try:
            if self.get(blob.digest).size != blob.size:
                return False
        except NotCached:
            return False
        return set(self.states(blob)) == {PRESENT}

    def chunker(self, blob: Blob, chunks: ChunkList, label: str = "") -> Chunker:
        """Open a blob for reading and writing chunk by chunk; `chunks` is pinned, with `label` saying where from.

        A disk that takes nothing more gives a Chunker that lives in memory (P8).

        Raises:
            CacheError: the files of the blob cannot be used.
        """
        place = Place(self.root, blob.digest)
        while True:
            try:
                with disk_errors(place.folder):
                    place.folder.mkdir(parents=True, exist_ok=True)
                    fd = open_locked(place.map)
            except CacheFull as exc:
                return self._without_disk(blob, chunks, place, exc)
            except CacheError as exc:
                if isinstance(exc.__cause__, FileNotFoundError):
                    continue  # the folder was put into quarantine just now
                raise
            try:
                return self._open(blob, chunks, place, fd, label)
            except CacheFull as exc:
                return self._without_disk(blob, chunks, place, exc)

    def _open(self, blob: Blob, chunks: ChunkList, place: Place, map_fd: int, label: str) -> Chunker:
        """Open data and map; `map_fd` holds Lock.CHANGE, so nobody renames, creates or judges meanwhile."""
        data_fd = -1
        try:
            with disk_errors(place.folder):
                if ChunkMap.in_use_otherwise(map_fd, blob, chunks):
                    # What that list lets through would be written over what this one has proved: not into one file.
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(place.data)
                data_fd, sealed, fresh = open_data(place, blob.size)
                # A blob that is its own only chunk needs no list to be pinned.
                if chunks.proved and len(chunks) > 1 and self.pinned_list(blob) != chunks:
                    write_atomically(place.chunks, pack(chunks, label), self.root / "partial", durable=False)
                # Without digests only the whole can be proved: which part of it had arrived, a lost map cannot say.
                otherwise = CLAIMED if sealed or (chunks.proved and not fresh) else ABSENT
                taken, map_fd = map_fd, -1
                chunk_map = ChunkMap.attach(place.map, taken, blob, chunks, otherwise=otherwise, anew=fresh)
                try_lock(chunk_map.fd, Lock.OPEN, shared=True)
                if sealed:
                    chunk_map.claim_absent()  # a rotten chunk, and whoever found it died before the repair
                unlock(chunk_map.fd, Lock.CHANGE)
        except BaseException:
            for fd in (map_fd, data_fd):
                if fd >= 0:
                    os.close(fd)
            raise
        return Chunker(blob, chunks, place, chunk_map, data_fd, self.memory, sealed=sealed)

    def _without_disk(self, blob: Blob, chunks: ChunkList, place: Place, reason: CacheFull) -> Chunker:
        """What the disk has can be read; what comes lives in memory."""
        fd, sealed = open_regular(place.sealed, blob.size), True
        if fd < 0:
            fd, sealed = open_regular(place.data, blob.size), False
        # Of unsealed bytes without digests nobody can say any more which have arrived.
        known = fd >= 0 and (sealed or chunks.proved)
        chunk_map = ChunkMap.in_memory(chunks, CLAIMED if known else ABSENT)
        chunker = Chunker(blob, chunks, place, chunk_map, fd, self.memory, sealed=fd >= 0 and sealed)
        chunker.full = reason
        return chunker

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
                for name in os.listdir(self.root / folder):
                    with contextlib.suppress(InvalidDigest):
                        if name.startswith("sha256-"):
                            found.add(Digest.parse(name))
        return iter(sorted(found))


def _copy(reader: Reader, fd: int, size: int, what: str) -> Digest:
    """Copy exactly `size` bytes to `fd`, hashing them."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(PIECE, size + 1)))
    off = 0
    while off <= size:
        got = reader(buffer[: min(len(buffer), size + 1 - off)])
        if not got:
            break
        if off + got > size:
            raise SizeMismatch(f"{what}: more than the announced {size} bytes")
        digest.update(buffer[:got])
        pwrite_all(fd, buffer[:got], off)
        off += got
    if off < size:
        raise UnexpectedEnd(f"{what}: {off} bytes for the announced {size}")
    return Digest(digest.hexdigest())
