"""Stamp: what says that a file is still the same; and how large its chunks are.  Knows files."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from fusefs.errors import ServeError
from fusefs.values.chunklimits import most_chunks

if TYPE_CHECKING:
    from pathlib import Path


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
    return checked_regular(fd, path)


def checked_regular(fd: int, path: Path) -> tuple[int, Stamp]:
    """An open file and what it looks like.

    Raises:
        ServeError: it is not a regular file; it is closed then.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise ServeError(f"cannot read {path}: it is not a regular file")
    return fd, Stamp.of(status)


def fitting_chunk_size(size: int, chunk_size: int) -> int:
    """`chunk_size`, doubled until `size` bytes go into no more chunks than a list of them may have."""
    while -(-size // chunk_size) > most_chunks(size):
        chunk_size *= 2
    return chunk_size


def _reason(exc: Exception) -> str:
    return (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
