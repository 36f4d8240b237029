"""Identity: which mount is at a path, told from one that was made there since.

The number of a device is given to the next mount as soon as the last one is gone, and so is a mount's id in mountinfo:
who takes `0:42` away by its number may take his successor's.  The unique id of statx(2) is never given twice
(Linux 6.8); an older kernel leaves the number of the device alone.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

from fusefs.fuse.mountpoint import mounted_at

if TYPE_CHECKING:
    from pathlib import Path

_FDCWD = -100
_FLAGS = 0x100 | 0x800 | 0x4000  # AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, AT_STATX_DONT_SYNC: the daemon is not asked
_UNIQUE = 0x4000  # STATX_MNT_ID_UNIQUE
_SIZE, _ID_AT = 256, 144  # of struct statx; stx_mnt_id


class Identity(NamedTuple):
    """Of a mount.

    Attributes:
        minor: of its st_dev.
        unique: its id among all mounts since boot; 0 where the kernel has none.
    """

    minor: int
    unique: int


def identity(mountpoint: Path) -> Identity | None:
    """Of the topmost mount at exactly `mountpoint`; None when nothing is mounted there."""
    there = mounted_at(mountpoint)
    return None if there is None else Identity(there.minor, _unique(there.mountpoint))


def _unique(path: Path) -> int:
    found = ctypes.create_string_buffer(_SIZE)
    if ctypes.CDLL(None).statx(_FDCWD, os.fsencode(path), _FLAGS, _UNIQUE, found) != 0:
        return 0
    mask = struct.unpack_from("=I", found)[0]
    return int(struct.unpack_from("=Q", found, _ID_AT)[0]) if mask & _UNIQUE else 0
