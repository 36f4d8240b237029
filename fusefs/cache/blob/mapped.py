"""Pinned lists as they lie on disk: short ones read, long ones mapped, so that the kernel may drop them and read again.

A mapped file must not become shorter (that is a SIGBUS): pinned lists are written once, beside, and renamed.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from typing import TYPE_CHECKING

from fusefs.system.spot import is_link_at, open_at

if TYPE_CHECKING:
    from fusefs.system.spot import Where

_SHORT = 1 << 18
"""Bytes that are read: for so few a mapping costs more than it saves."""


def read_mapped(path: Where, limit: int) -> bytes | memoryview:
    """All of a plain file of at most `limit` bytes: read, or as a view of a mapping when there are many.

    Raises:
        OSError: as the kernel says, or it is something else (opening a FIFO would wait for ever).
    """
    fd = open_at(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > limit or is_link_at(path.parent):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if info.st_size > _SHORT:
            return memoryview(mmap.mmap(fd, info.st_size, prot=mmap.PROT_READ))
        with open(fd, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(fd)
