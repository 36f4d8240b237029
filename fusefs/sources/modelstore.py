"""LocalStore: a directory in OLLAMA_MODELS layout as a Source, read-only, its blobs read in place.

Layout: `manifests/<host>/<namespace>/<model>/<tag>`, `blobs/sha256-<hex>`; a cache directory of fusefs is one too, and
has chunk lists in `partial/sha256-<hex>/chunks`.  Nothing in it is trusted: the reader checks digests as ever.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from fusefs.artifacts.manifest import MAX_MANIFEST_SIZE
from fusefs.errors import Cancelled, InvalidInput, ModelNotFound, NotFound, SourceError
from fusefs.values.chunkpack import MAX_PACKED_SIZE, unpack
from fusefs.values.chunks import Blob, Chunk, ChunkList
from fusefs.values.filenames import part_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusefs.values.names import Name

_TEMPORARY = frozenset((errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM))
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))


class LocalStore:
    """A Source over a directory.

    Files are opened without following a link in their own place: a store may belong to a user who is not allowed to
    read what a link could point to.  Links above (`blobs` itself on another disk) are followed.
    """

    def __init__(self, root: Path) -> None:
        self.label = str(root)
        self._root = root
        self._closed = threading.Event()

    def manifest(self, name: Name) -> bytes:
        """See `Source.manifest`.  With a digest, the tag's file counts when it matches, else the blob of that name."""
        self._check_open()
        for path in self._manifest_paths(name):
            try:
                raw = self._read(path, MAX_MANIFEST_SIZE + 1)
            except NotFound:
                continue
            if name.digest is None or name.digest.matches(raw):
                return raw
        raise ModelNotFound(f"model {name.repository}:{name.tag} not found", source=self.label)

    def chunk_list(self, name: Name, blob: Blob) -> ChunkList | None:  # noqa: ARG002  # a store has no repositories
        """See `Source.chunk_list`; a list that cannot be used is as good as none."""
        self._check_open()
        try:
            return self._chunk_list(self._root / "partial" / blob.digest.file_name / "chunks", blob)
        except (NotFound, InvalidInput):
            return None

    def open_range(self, name: Name, blob: Blob, chunk: Chunk) -> LocalBody:  # noqa: ARG002  # the same
        """See `Source.open_range`."""
        self._check_open()
        if chunk.end >= blob.size:
            raise SourceError(f"bytes {chunk} lie behind the end of a blob of {blob.size}", source=self.label)
        fd = self._open(self._root / "blobs" / blob.digest.file_name)
        size = os.fstat(fd).st_size
        if size != blob.size:
            os.close(fd)
            raise SourceError(f"{blob.digest.file_name} has {size} bytes instead of {blob.size}", source=self.label)
        return LocalBody(self, fd, chunk)

    def close(self) -> None:
        """See `Source.close`."""
        self._closed.set()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def _check_open(self) -> None:
        if self.closed:
            raise Cancelled("the source is closed")

    def _manifest_paths(self, name: Name) -> Iterator[Path]:
        exact = self._root.joinpath("manifests", *name.path)
        yield exact
        yield from (path for path in self._any_case(name) if path != exact)
        if name.digest is not None:
            yield self._root / "blobs" / name.digest.file_name

    def _any_case(self, name: Name) -> list[Path]:
        """Manifests whose path is that of `name` but for the case of letters."""
        found = [self._root / "manifests"]
        for part in name.path:
            found = [folder / entry for folder in found for entry in self._list(folder) if _same(entry, part)]
        return found

    def _list(self, folder: Path) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except OSError as exc:
            if exc.errno in _ABSENT:
                return []
            raise _error(exc, self.label) from exc

    def _chunk_list(self, path: Path, blob: Blob) -> ChunkList | None:
        """As a cache pins it; one that is not complete proves nothing to others and is none."""
        chunks, _ = unpack(self._read(path, MAX_PACKED_SIZE + 1), blob.size)
        return chunks if chunks.complete else None

    def _read(self, path: Path, limit: int) -> bytes:
        with os.fdopen(self._open(path), "rb") as file, translated(self.label):
            return file.read(limit)

    def _open(self, path: Path) -> int:
        """A descriptor of the plain file `path`."""
        with translated(self.label):
            # O_NONBLOCK: a FIFO in a blob's place must not hold the reader.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise NotFound(f"{path.name} is not a plain file", source=self.label)
        return fd


class Closable(Protocol):
    """What a file of this machine is read for.

    Attributes:
        label: what to call it in messages.
    """

    label: str

    @property
    def closed(self) -> bool:
        """Whether nothing is wanted any more."""


class LocalBody:
    """The bytes of one range of a file; a Body."""

    def __init__(self, store: Closable, fd: int, chunk: Chunk) -> None:
        self._store = store
        self.given = chunk
        self._fd = fd
        self._off = chunk.start
        self._stop = chunk.stop
        self._lock = threading.Lock()  # close must not let the descriptor become another file's during a read

    def readinto(self, buffer: memoryview) -> int:
        """See `Body.readinto`."""
        with self._lock:
            if not buffer or self._off == self._stop:
                return 0
            if self._fd < 0 or self._store.closed:
                raise Cancelled("the range was closed")
            with translated(self._store.label):
                got = os.preadv(self._fd, [buffer[: self._stop - self._off]], self._off)
            if got == 0:
                raise SourceError(f"the file ended {self._stop - self._off} bytes too early", source=self._store.label)
            self._off += got
            return got

    def close(self) -> None:
        """See `Body.close`."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def __del__(self) -> None:
        self.close()


def _same(entry: str, part: str) -> bool:
    return part_of(entry).lower() == part.lower()


@contextmanager
def translated(source: str) -> Iterator[None]:
    """Turn an OSError into fusefs.errors."""
    try:
        yield
    except OSError as exc:
        raise _error(exc, source) from exc


def _error(exc: OSError, source: str) -> SourceError:
    if exc.errno in _ABSENT:
        return NotFound(f"{os.path.basename(exc.filename or 'file')} not found", source=source)
    return SourceError(exc.strerror or str(exc), source=source, temporary=exc.errno in _TEMPORARY)
