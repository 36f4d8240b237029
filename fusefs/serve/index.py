"""The digest and the chunk list of a file, in one pass over it; and what says that a file is still the same.

Knows files and hashes.  Knows neither where lists are kept nor who asks for them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from fusefs.errors import ServeError
from fusefs.values.chunks import ChunkList, most_chunks
from fusefs.values.digest import SHA256, Digest
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PIECE = 4 * MIB
"""Bytes hashed at a time: large enough that handing a piece to the second thread costs nothing beside hashing it."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file looked like: when any of it differs, its digest is computed anew.

    Attributes:
        size: in bytes.
        mtime_ns: time of the last change of the content, nanoseconds; whoever may write the file can set it.
        ctime_ns: time of the last change of content, mode or mtime, nanoseconds; nobody can set it.
        inode: another file that took its name has another one.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """The stamp in what stat said."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def open_regular(path: Path) -> tuple[int, Stamp]:
    """Open a file to read it.

    Raises:
        ServeError: it is not there, not readable, or not a regular file.
    """
    try:
        # O_NONBLOCK: a fifo that took the name of a file would otherwise block until somebody writes to it.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as exc:
        raise ServeError(f"cannot read {path}: {_reason(exc)}") from exc
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise ServeError(f"cannot read {path}: it is not a regular file")
    return fd, Stamp.of(status)


def chunk_list_of(
    path: Path, chunk_size: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Digest, ChunkList]:
    """Read a file once and compute the sha256 of all of it and of each chunk.

    Args:
        path: the file.
        chunk_size: bytes of a chunk; doubled until the list is one that fusefs takes (`most_chunks`).
        progress: called with the bytes hashed so far and the bytes of the file; what it raises ends the work.

    Raises:
        ServeError: the file cannot be read, or it changed while it was read.
    """
    digest, chunks, _ = stamped_chunk_list(path, chunk_size, progress)
    return digest, chunks


def stamped_chunk_list(
    path: Path, chunk_size: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Digest, ChunkList, Stamp]:
    """As `chunk_list_of`, with the stamp for which it holds."""
    fd, stamp = open_regular(path)
    try:
        plan = ChunkList.uniform(stamp.size, fitting_chunk_size(stamp.size, chunk_size))
        whole, digests = _hash(fd, path, plan, progress or _quiet)
        if Stamp.of(os.fstat(fd)) != stamp:
            raise ServeError(f"{path} changed while it was read; try again when it is complete")
    except OSError as exc:
        raise ServeError(f"cannot read {path}: {_reason(exc)}") from exc
    finally:
        os.close(fd)
    return whole, plan.with_digests(digests), stamp


def fitting_chunk_size(size: int, chunk_size: int) -> int:
    """`chunk_size`, doubled until `size` bytes go into no more chunks than a list of them may have."""
    while -(-size // chunk_size) > most_chunks(size):
        chunk_size *= 2
    return chunk_size


def _hash(fd: int, path: Path, plan: ChunkList, progress: Callable[[int, int], None]) -> tuple[Digest, bytes]:
    whole = hashlib.sha256()
    parts = _ChunkHasher(plan[0].size if len(plan) else 1)
    buffer = memoryview(bytearray(min(_PIECE, plan.size) or 1))
    done = 0
    with ThreadPoolExecutor(1, "fusefs-hash") as second:
        while done < plan.size:
            count = os.preadv(fd, [buffer[: plan.size - done]], done)
            if not count:
                raise ServeError(f"{path} became shorter while it was read; try again when it is complete")
            # Two hashes of every byte: hashlib lets go of the GIL, so the second one is free where a core is.
            chunk_hashes = second.submit(parts.update, buffer[:count])
            whole.update(buffer[:count])
            chunk_hashes.result()
            done += count
            progress(done, plan.size)
    return Digest(SHA256, whole.hexdigest()), parts.digests()


class _ChunkHasher:
    """The digests of equal chunks of a stream, 32 bytes each."""

    def __init__(self, chunk_size: int) -> None:
        self._chunk_size = chunk_size
        self._room = chunk_size
        self._hash = hashlib.sha256()
        self._done = bytearray()

    def update(self, data: memoryview) -> None:
        while data:
            piece, data = data[: self._room], data[self._room :]
            self._hash.update(piece)
            self._room -= len(piece)
            if not self._room:
                self._finish()

    def _finish(self) -> None:
        self._done += self._hash.digest()
        self._hash = hashlib.sha256()
        self._room = self._chunk_size

    def digests(self) -> bytes:
        """All of them; the last chunk may be shorter."""
        if self._room != self._chunk_size:
            self._finish()
        return bytes(self._done)


def _quiet(_done: int, _size: int) -> None:
    pass


def _reason(exc: Exception) -> str:
    return (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
