"""DirectFile: writes and reads past the page cache, where that is known to be safe and to be worth it.

A page of the page cache costs more than hashing what is on it: it is allocated, copied to, and written out later.
Bytes that stay in memory anyway until they were read (`fusefs.cache.memory.recent`) need none, and neither do those
that are read back once, to be hashed.

`O_DIRECT` wants offset, length and memory aligned.  Where file and page cache are read side by side with it, only file
systems are trusted that keep both in step on one host; elsewhere writing goes through the page cache as ever.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.system.spot import open_at

if TYPE_CHECKING:
    from fusefs.system.spot import Where

ALIGNMENT = 4096
"""Of offset and length; a multiple of what any disk asks for."""

_COHERENT = frozenset({"ext4", "xfs"})

_AT_A_TIME = 4
"""Writes under way at most.  When all are busy the disk is slower than the network, and the page cache, which has more
room than we, takes the next chunk."""

_MOUNTS = Path("/proc/self/mountinfo")


class DirectFile:
    """A second descriptor of one file, open for direct access as soon as there is some.  Thread-safe.

    Args:
        fd: the file.
        path: its name, as long as it is written to.
    """

    def __init__(self, fd: int, path: Where) -> None:
        self._file = fd
        self._path = path
        self._fd = -1
        self._usable = False
        with contextlib.suppress(OSError):  # a file of which not even this is known is written the usual way
            self._usable = _file_system(os.fstat(fd).st_dev) in _COHERENT
        self._opening = threading.Lock()
        self._busy = threading.BoundedSemaphore(_AT_A_TIME)

    def write(self, data: memoryview, off: int) -> bool:
        """Write all of `data` at `off`; False when it has to go through the page cache.

        Raises:
            OSError: the disk took not all of it.
        """
        if not self._opened():
            return False
        if off % ALIGNMENT or len(data) % ALIGNMENT or not self._busy.acquire(blocking=False):
            return False
        try:
            # A short write is finished through the page cache, which says what is wrong.
            return os.pwrite(self._fd, data, off) == len(data)
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            return False  # the memory of a caller that is not aligned, or a disk that wants more than we know
        finally:
            self._busy.release()

    def read(self, buffer: memoryview, off: int) -> bool:
        """Fill all of `buffer` from `off`; False when that has to go through the page cache.

        What is wrong with the file is found by who reads it the usual way.
        """
        # No look into the page cache first: a look that finds nothing there has the kernel begin to fill it.
        if off % ALIGNMENT or len(buffer) % ALIGNMENT or not self._opened():
            return False
        with contextlib.suppress(OSError):
            return os.preadv(self._fd, [buffer], off) == len(buffer)
        return False

    def _opened(self) -> bool:
        with self._opening:
            if self._fd < 0 and self._usable:
                self._usable = False
                with contextlib.suppress(OSError):  # it has another name by now, or a disk that cannot
                    fd = open_at(self._path, os.O_RDWR | os.O_DIRECT)
                    try:
                        self._usable = os.path.samestat(os.fstat(fd), os.fstat(self._file))
                    finally:
                        if self._usable:
                            self._fd = fd
                        else:
                            os.close(fd)
            return self._fd >= 0

    def close(self) -> None:
        """Let go of the descriptor, until it is needed again.  Nobody may be using it.  Idempotent."""
        with self._opening:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


@cache
def _file_system(device: int) -> str:
    """The type of the file system with this st_dev; empty when it is none of a mount.

    Raises:
        OSError: it cannot be known now; not remembered, for a little later there may be a descriptor to look with.
    """
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if fields[2] == wanted and "-" in fields:
            return fields[fields.index("-") + 1]
    return ""
