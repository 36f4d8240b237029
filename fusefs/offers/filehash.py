"""FileHash: the digest and the chunk list of a file, in one pass over it that may rest between two pieces.

Knows files and hashes.  Knows neither where lists are kept nor who asks for them.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from fusefs.errors import ServeError
from fusefs.offers.stamp import Stamp, fitting_chunk_size, open_regular
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import SHA256, Digest
from fusefs.values.settings import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PIECE = 4 * MIB
"""Bytes hashed at a time: large enough that handing a piece to the second thread costs nothing beside hashing it."""

_ALONE = 64 * KIB
"""Below that many bytes a second thread costs more than it gains."""


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
    with FileHasher() as hasher, FileHash(*open_regular(path), path, chunk_size) as file:
        while not file.complete:
            hasher.step(file)
            if progress is not None:
                progress(file.done, file.size)
        return file.result()


class FileHash:
    """A file that is being hashed, as far as that went: it may rest between two steps.

    Attributes:
        stamp: what the file looked like at the beginning, for which the result holds.
        size: bytes in all.
        done: bytes hashed.
    """

    def __init__(self, fd: int, stamp: Stamp, path: Path, chunk_size: int) -> None:
        """Take over `fd`; `close` closes it."""
        self.stamp = stamp
        self.size = stamp.size
        self.done = 0
        self._fd = fd
        self._path = path
        self._plan = ChunkList.uniform(stamp.size, fitting_chunk_size(stamp.size, chunk_size))
        self._whole = hashlib.sha256()
        self._parts = _ChunkHasher(self._plan[0].size if len(self._plan) else 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def complete(self) -> bool:
        """Whether all bytes are hashed."""
        return self.done == self.size

    def read(self, buffer: memoryview) -> int:
        """Fill the front of `buffer` with the next bytes.

        Raises:
            ServeError: it cannot be read, or it is not the file that it was: what follows would be in vain.
        """
        try:
            count = os.preadv(self._fd, [buffer[: self.size - self.done]], self.done)
            changed = Stamp.of(os.fstat(self._fd)) != self.stamp
        except OSError as exc:
            raise ServeError(f"cannot read {self._path}: {exc.strerror}") from exc
        if changed or not count:
            raise FileChanged(f"{self._path} changed while it was read; try again when it is complete")
        return count

    def whole(self, data: memoryview) -> None:
        """Hash what `read` gave, for the digest of the file."""
        self._whole.update(data)

    def parts(self, data: memoryview) -> None:
        """Hash what `read` gave, for the digests of chunks; may run beside `whole`."""
        self._parts.update(data)

    def result(self) -> tuple[Digest, ChunkList]:
        """The digests, when it is complete."""
        return Digest(SHA256, self._whole.hexdigest()), self._plan.with_digests(self._parts.digests())

    def close(self) -> None:
        """Close the file once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class FileChanged(ServeError):
    """A file is being written; it may be complete later."""


class FileHasher:
    """A buffer and a second thread, for one file after the other; of one thread."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_PIECE))
        self._second = ThreadPoolExecutor(1, "fusefs-hash")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._second.shutdown()

    def step(self, file: FileHash) -> int:
        """Hash the next piece of a file that is not complete.

        Returns:
            How many bytes.

        Raises:
            ServeError: see `FileHash.read`.
        """
        data = self._buffer[: file.read(self._buffer)]
        if len(data) < _ALONE:
            file.parts(data)
            file.whole(data)
        else:
            # Two hashes of every byte: hashlib lets go of the GIL, so the second one is free where a core is.
            parts = self._second.submit(file.parts, data)
            try:
                file.whole(data)
            finally:
                parts.result()
        file.done += len(data)
        return len(data)


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
