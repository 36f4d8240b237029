"""Native: the byte of a chunk map that says that a kernel was given the sealed file to read, in this boot.

Why it is kept: `fusefs.cache.blob.backing`.
"""

from __future__ import annotations

import os

from fusefs.system.files import pwrite_all

_AT = 121
"""Where it is in the header of a map: the byte after `condemned`."""


def is_native(map_fd: int) -> bool:
    """Whether the map file says so.

    Raises:
        OSError: as the kernel says.
    """
    return os.pread(map_fd, 1, _AT) == b"\x01"


def set_native(map_fd: int, *, native: bool) -> None:
    """Write down whether one was.

    Raises:
        OSError: the disk does not take even one byte.
    """
    pwrite_all(map_fd, memoryview(bytes([native])), _AT)
