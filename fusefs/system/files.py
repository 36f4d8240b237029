"""What the cache asks of the operating system: whole writes, whole reads, atomic replacement, the boot id.

A disk that cannot take more (no space, quota, read-only) is `CacheFull`, wherever it shows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import secrets
import stat
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.errors import CacheError, CacheFull, SizeMismatch, UnexpectedEnd
from fusefs.system.spot import is_link_at, mkdir_at, names_at, open_at, replace_at, rmdir_at, stat_at, unlink_at
from fusefs.system.steps import step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from fusefs.system.spot import Where
    from fusefs.values.chunks import Chunk
    from fusefs.values.digest import Digest, Hasher

    Reader = Callable[[memoryview], int]
    """Fills the front of a buffer and says how many bytes it took; 0 is the end."""

PIECE = 1 << 20
"""Bytes read, hashed or written at a time: large enough to amortise a call, small enough to stay in the L2 cache."""

TEMPORARY = ".tmp-"
YOUNG = 60  # seconds

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})

FOREIGN = frozenset({errno.ELOOP, errno.ENXIO, errno.EISDIR})
"""Opening a symbolic link, a socket, a folder: nothing that we made.  Any other error (too many open files) says
nothing of the file."""


def disk_error(what: object, exc: OSError) -> CacheError:
    """What an OSError means for who was working on `what`: CacheFull, or another CacheError."""
    kind = CacheFull if exc.errno in _FULL else CacheError
    return kind(f"{what}: {exc.strerror or exc}")


@contextlib.contextmanager
def disk_errors(what: object) -> Iterator[None]:
    """Raise a `disk_error` in the place of an OSError.  What is done for every chunk catches by itself."""
    try:
        yield
    except OSError as exc:
        raise disk_error(what, exc) from exc


@functools.cache  # a process does not outlive its boot, and one without a descriptor to spare must know it, too
@functools.cache  # once a process: a read must not fail for want of a descriptor
def boot_id() -> bytes:
    """16 bytes that differ between boots: what an earlier boot has marked may not have reached the disk."""
    return uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes


def reader_of(data: bytes) -> Callable[[memoryview], int]:
    """A reader, as the cache takes them, over bytes in memory."""
    rest = memoryview(data)

    def reader(buffer: memoryview) -> int:
        nonlocal rest
        got = min(len(buffer), len(rest))
        buffer[:got] = rest[:got]
        rest = rest[got:]
        return got

    return reader


def reader_from(fd: int) -> Reader:
    """A reader, as the cache takes them, over an open file from its front; its own offset stays."""
    off = 0

    def reader(buffer: memoryview) -> int:
        nonlocal off
        got = os.preadv(fd, [buffer], off)
        off += got
        return got

    return reader


def open_inside(path: Where, flags: int) -> int:
    """Open a file that is no symbolic link, in a folder that is none either; a new one is for us alone.

    What lies above that folder was checked when the cache was opened (`fusefs.cache.guard`), which also saw to it that
    nobody else can put a link there between this look and the opening.

    Raises:
        OSError: ELOOP for a link, ENOTDIR for one in place of the folder, or as the kernel says.
    """
    if is_link_at(path.parent):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    return open_at(path, flags)


def make_folder(path: Where) -> None:
    """Have a folder for us alone at `path`; a symbolic link there, which would lead out of the cache, is removed.

    Raises:
        OSError: as the kernel says.
    """
    try:
        mkdir_at(path)
    except FileNotFoundError:
        make_folder(path.parent)
        mkdir_at(path)
    except FileExistsError:
        mode = stat_at(path).st_mode
        if stat.S_ISLNK(mode):
            unlink_at(path)
            mkdir_at(path)
        elif not stat.S_ISDIR(mode):
            raise


def read_plain(path: Where, limit: int) -> bytes:
    """All of a plain file of at most `limit` bytes.

    Raises:
        OSError: as the kernel says, or it is something else (opening a FIFO would wait for ever).
    """
    fd = open_at(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        info = os.fstat(fd)
        # The folder is looked at only now: most of the time there is no such file, and `ls` asks for very many.
        if not stat.S_ISREG(info.st_mode) or info.st_size > limit or is_link_at(path.parent):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return file.read(limit)


def read_front(path: Where, size: int) -> bytes:
    """The first `size` bytes of a plain file, or all of it when it is shorter.

    Raises:
        OSError: as `read_plain`.
    """
    fd = open_at(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or is_link_at(path.parent):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def remove_foreign(path: Where) -> bool:
    """Remove what has the name of a plain file of ours and is none: a link (not what it leads to), an empty folder.

    Returns:
        True when there was such a thing.

    Raises:
        OSError: a folder that is not empty, or as the kernel says.
    """
    try:
        mode = stat_at(path).st_mode
        if stat.S_ISREG(mode):
            return False
        (rmdir_at if stat.S_ISDIR(mode) else unlink_at)(path)
    except FileNotFoundError:
        return False
    return True


def pwrite_all(fd: int, data: memoryview, off: int) -> None:
    """Write all of `data` at `off`; a short write goes on where it stopped.

    Raises:
        OSError: as the kernel says; a write of nothing counts as ENOSPC.
    """
    while data:
        written = os.pwrite(fd, data, off)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data = data[written:]
        off += written


def preadv_all(fd: int, buffer: memoryview, off: int) -> int:
    """Fill `buffer` from `off`; returns how many bytes there were before the end of the file."""
    filled = 0
    while filled < len(buffer):
        got = os.preadv(fd, [buffer[filled:]], off + filled)
        if got == 0:
            break
        filled += got
    return filled


@contextlib.contextmanager
def temporary_file(folder: Where) -> Iterator[tuple[int, Where]]:
    """A new locked file in `folder`, for renaming to its final name; gone afterwards when it was not renamed.

    The lock tells `sweep` that its owner is alive.
    """
    path = folder / f"{TEMPORARY}{secrets.token_hex(8)}"
    fd = open_at(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd, path
    finally:
        os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            unlink_at(path)


def temporaries(folder: Where) -> list[Where]:
    """Temporary files in `folder`; a folder that cannot be listed has none."""
    with contextlib.suppress(OSError):
        return [folder / name for name in names_at(folder) if name.startswith(TEMPORARY)]
    return []


def sweep(folder: Where) -> None:
    """Remove temporary files in `folder` whose owner died."""
    for path in temporaries(folder):
        with contextlib.suppress(OSError):
            fd = open_at(path, os.O_RDWR)
            try:
                # A file so young may be about to be locked by its owner.
                if abs(time.time() - os.fstat(fd).st_mtime) > YOUNG:  # from the future: the clock was set back
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    unlink_at(path)
            finally:
                os.close(fd)


def write_atomically(path: Where, data: bytes, scratch: Where, *, durable: bool) -> None:
    """Replace `path` by `data` by way of the folder `scratch`: whoever looks sees the old bytes or the new ones.

    `durable` makes that true of a power cut, too; without it, what a power cut leaves must carry its own checksum.

    Raises:
        OSError: and nothing has changed.
    """
    with temporary_file(scratch) as (fd, temporary):
        pwrite_all(fd, memoryview(data), 0)
        if durable:
            os.fsync(fd)
        remove_foreign(path)  # nothing can take the name of a folder
        replace_at(temporary, path)


def sync_file(path: Where) -> None:
    """Make the bytes of a plain file durable."""
    fd = open_at(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: Where) -> None:
    """Make renames inside `path` durable."""
    fd = open_at(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def advise(fd: int, ahead: Iterable[range], behind: Iterable[range]) -> None:
    """Have the disk begin to read `ahead`, and let go of the pages of `behind`.  Only advice: never raises."""
    with contextlib.suppress(OSError):
        for pages in ahead:
            os.posix_fadvise(fd, pages.start, len(pages), os.POSIX_FADV_WILLNEED)
        for pages in behind:
            os.posix_fadvise(fd, pages.start, len(pages), os.POSIX_FADV_DONTNEED)


def holds(fd: int, chunk: Chunk, digest: bytes) -> bool:
    """Whether these bytes of a file have the raw sha256 `digest`.  Blocking."""
    start, stop = chunk.start, chunk.stop
    hashed = hashlib.sha256()
    buffer = memoryview(bytearray(min(PIECE, stop - start)))
    try:
        # A hole has nothing to hash: a chunk of a huge sparse file whose map was lost is told apart at once.
        if os.lseek(fd, start, os.SEEK_DATA) >= stop:
            return False
        for off in range(start, stop, len(buffer)):
            piece = buffer[: min(len(buffer), stop - off)]
            if preadv_all(fd, piece, off) != len(piece):
                return False
            hashed.update(piece)
    except OSError:
        return False  # no data behind this offset (ENXIO), or a bad sector: fetched again
    return hashed.digest() == digest


def read_exactly(reader: Reader, buffer: memoryview, what: object) -> bytes:
    """Fill `buffer` with chunk `what`, hashing each piece while it is in the CPU's cache; returns the raw digest."""
    digest = hashlib.sha256()
    filled = 0
    while filled < len(buffer):
        got = reader(buffer[filled : filled + PIECE])
        if not got:
            raise UnexpectedEnd(f"chunk {what}: ended {len(buffer) - filled} bytes early")
        digest.update(buffer[filled : filled + got])
        filled += got
    return digest.digest()


def hexdigest_of(file: BinaryIO, digest: Digest, size: int, progress: Callable[[int], object] = int) -> str:
    """What the rest of `file` hashes to by the algorithm of `digest`, if it has `size` bytes.  Blocking.

    Args:
        file: read to its end.
        digest: what is expected.
        size: what the hash says of the length, where it does.
        progress: told how many bytes were read, piece by piece.
    """
    hasher = digest.hasher(size)
    buffer = memoryview(bytearray(PIECE))
    while got := file.readinto(buffer):  # type: ignore[attr-defined] # typeshed's BinaryIO lacks it
        hasher.update(buffer[:got])
        progress(got)
    return hasher.hexdigest()


def copy_exactly(reader: Reader, fd: int, size: int, what: str, hasher: Hasher) -> None:
    """Copy exactly `size` bytes to `fd`, hashing them.

    Raises:
        UnexpectedEnd, SizeMismatch: `what` has fewer, or more.
    """
    buffer = memoryview(bytearray(min(PIECE, size + 1)))
    off = 0
    while off <= size:
        got = reader(buffer[: min(len(buffer), size + 1 - off)])
        if not got:
            break
        if off + got > size:
            raise SizeMismatch(f"{what}: more than the announced {size} bytes")
        hasher.update(buffer[:got])
        with step("blob written"):
            pwrite_all(fd, buffer[:got], off)
        off += got
    if off < size:
        raise UnexpectedEnd(f"{what}: {off} bytes for the announced {size}")
