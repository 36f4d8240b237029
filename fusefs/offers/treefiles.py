"""TreeFiles: files below one folder for a web server, each there whole or not at all, and never in another's place.

A file that is shared with its source costs no disk: a reflink where the file system has them, else a hard link where
others may read the source (a link has its mode, and a web server is somebody else), else a copy, hashed as it is made.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Self

from fusefs.errors import ServeError
from fusefs.offers.ledger import Ledger
from fusefs.offers.stamp import Stamp
from fusefs.system.files import copy_exactly, hexdigest_of, pwrite_all, read_plain, reader_from, sweep, temporary_file
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusefs.offers.kept import HashedFile
    from fusefs.system.spot import Where

FICLONE = 0x40049409
"""ioctl of Linux, `linux/fs.h`: all of a file shares the blocks of another one until either is written."""

_MOST = 64 << 20
"""Bytes of a file that is replaced, at most: a list of tags, a server's configuration."""

_NO_LINK = frozenset({errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES})


class Placed(Enum):
    """How a file came to be there."""

    KEPT = "there already"
    LINKED = "linked"
    COPIED = "copied"


class TreeFiles:
    """The files of an export.

    Args:
        root: the folder; made when it is not there.
        share: files may share their bytes with their source.

    Raises:
        ServeError: it cannot be written to, or another export is at work.
    """

    def __init__(self, root: Path, *, share: bool = True) -> None:
        self.root = root
        self._share = share
        with _told(root):
            _folder(root)
        self.ledger = Ledger(root)
        sweep(root)  # what an export that died was writing

    def close(self) -> None:
        """Let others write."""
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, path: str, data: bytes) -> Placed:
        """Have `data` at `path`, which has its digest in its name and so never changes.

        Raises:
            ServeError: something else is there, or the disk does not take it.
        """
        digest = Digest.of(data)
        if self._is_there(path, digest, len(data)):
            return Placed.KEPT
        self._write(path, data, digest, durable=False)
        return Placed.COPIED

    def replace(self, path: str, data: bytes) -> Placed:
        """Have `data` at `path`, in the place of what an export wrote there before.

        Raises:
            ServeError: something else is there, or the disk does not take it.
        """
        digest, whole = Digest.of(data), self.root / path
        with _told(whole):
            try:
                before = Digest.of(read_plain(whole, _MOST))
            except FileNotFoundError:
                self._write(path, data, digest, durable=True)
                return Placed.COPIED
        if before == digest:
            self.ledger.add(path, digest, durable=False)
            return Placed.KEPT
        if not self.ledger.has(path, before):
            raise self._foreign(path)
        with _told(whole), self._temporary() as (fd, temporary):
            pwrite_all(fd, memoryview(data), 0)
            self.ledger.add(path, digest, durable=True)
            os.replace(str(temporary), whole)
        return Placed.COPIED

    def share(self, path: str, entry: HashedFile, source: int) -> tuple[Placed, HashedFile]:
        """Have the bytes of a file at `path`, which has their digest in its name.

        Args:
            path: relative.
            entry: what is known of the file.
            source: a descriptor of it; the caller closes it.

        Returns:
            How, and what is known of the file now: a link to it changes its ctime.

        Raises:
            ServeError: the file has changed, something else is there, or the disk does not take it.
        """
        size = entry.stamp.size
        if self._is_there(path, entry.digest, size):
            return Placed.KEPT, entry
        whole = self.root / path
        _check_same(entry, source)
        with _told(whole), contextlib.ExitStack() as stack:
            _folder(whole.parent)
            self.ledger.add(path, entry.digest, durable=False)
            if self._share and self._reflink(whole, source, entry):
                return Placed.LINKED, entry
            if self._share and os.fstat(source).st_mode & stat.S_IROTH and _link(source, whole):
                stack.callback(whole.unlink, missing_ok=True)
                linked = _check_linked(entry, source)
                stack.pop_all()
                return Placed.LINKED, replace(entry, stamp=linked)
            self._copy(whole, source, entry)
        return Placed.COPIED, entry

    def _is_there(self, path: str, digest: Digest, size: int) -> bool:
        """Whether the right bytes are there; who knows that an export wrote them need not hash them.

        Raises:
            ServeError: something else is there.
        """
        whole = self.root / path
        with _told(whole):
            try:
                info = os.lstat(whole)
            except FileNotFoundError:
                return False
            if stat.S_ISREG(info.st_mode) and info.st_size == size:
                if self.ledger.has(path, digest):
                    return True
                with open(whole, "rb") as file:
                    if hexdigest_of(file, digest, size) == digest.hex:
                        return True
        raise self._foreign(path)

    def _write(self, path: str, data: bytes, digest: Digest, *, durable: bool) -> None:
        whole = self.root / path
        with _told(whole), self._temporary() as (fd, temporary):
            pwrite_all(fd, memoryview(data), 0)
            self.ledger.add(path, digest, durable=durable)
            _folder(whole.parent)
            _name(temporary, whole)

    def _reflink(self, whole: Path, source: int, entry: HashedFile) -> bool:
        with self._temporary() as (fd, temporary):
            try:
                fcntl.ioctl(fd, FICLONE, source)
            except OSError:  # no such file system, or not the same one
                return False
            _check_same(entry, source)
            _name(temporary, whole)
            return True

    def _copy(self, whole: Path, source: int, entry: HashedFile) -> None:
        size, hasher = entry.stamp.size, entry.digest.hasher(entry.stamp.size)
        with self._temporary() as (fd, temporary):
            copy_exactly(reader_from(source), fd, size, str(entry.path), hasher)
            if hasher.hexdigest() != entry.digest.hex:
                raise ServeError(f"{entry.path} changed while it was copied; run the command again")
            os.fdatasync(fd)  # its name is what says that it is whole
            _name(temporary, whole)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[int, Where]]:
        with temporary_file(self.root) as (fd, temporary):
            os.fchmod(fd, 0o644)  # a web server is somebody else
            yield fd, temporary

    def _foreign(self, path: str) -> ServeError:
        return ServeError(
            f"{self.root / path} is there, and fusefs export did not write it so: remove it, or name another folder"
        )


def _folder(path: Path) -> None:
    """A folder that others may enter, whatever the umask is; those that are there stay as they are."""
    if path.is_dir():
        return
    _folder(path.parent)
    path.mkdir(exist_ok=True)
    path.chmod(0o755)


def _name(temporary: Where, whole: Path) -> None:
    """Give a written file its name, which nothing has.

    Raises:
        FileExistsError: something has it by now.
    """
    try:
        os.link(str(temporary), whole)
    except OSError as exc:
        if exc.errno not in _NO_LINK:
            raise
        if os.path.lexists(whole):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(whole)) from exc
        os.rename(str(temporary), whole)


def _link(source: int, whole: Path) -> bool:
    """Give the open file one more name; False where that cannot be."""
    try:
        # By the descriptor: the path may be another file's by now.  A folder's descriptor, which an absolute path makes
        # meaningless, is what has Python call linkat(2), the one of the two calls that follows the link in /proc.
        os.link(f"/proc/self/fd/{source}", whole, src_dir_fd=source, follow_symlinks=True)
    except OSError as exc:
        if exc.errno in _NO_LINK or exc.errno == errno.ENOENT:
            return False
        raise
    return True


def _check_same(entry: HashedFile, source: int) -> None:
    if Stamp.of(os.fstat(source)) != entry.stamp:
        raise ServeError(f"{entry.path} changed since it was hashed; run the command again")


def _check_linked(entry: HashedFile, source: int) -> Stamp:
    """The stamp of a file that got a name: its ctime has changed, and nothing else may have."""
    stamp = Stamp.of(os.fstat(source))
    if replace(stamp, ctime_ns=entry.stamp.ctime_ns) != entry.stamp:
        raise ServeError(f"{entry.path} changed while it was linked; run the command again")
    return stamp


@contextlib.contextmanager
def _told(what: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ServeError(f"cannot write {what}: {exc.strerror or exc}") from exc
