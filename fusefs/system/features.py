"""Features: what the file system under a cache can keep, asked of a probe file.

NTFS, exFAT, FAT and SMB show every file with the modes of the mount and ignore chmod, or refuse it; some have no holes.
No list of their names would do: one and the same driver keeps modes with one mount option and none with another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.system.files import temporary_file

if TYPE_CHECKING:
    from fusefs.system.spot import Where

OTHERS_WRITE = 0o022

_PROBE = 1 << 20
"""Bytes of the probe file: more than the largest cluster of a file system without holes takes for one byte."""


REFUSED = contextlib.suppress(PermissionError)
"""Round fchmod(2) and utime(2) of a file of ours: a file system without modes may refuse some modes, or say that every
file is root's, and nothing depends on them."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a file system can keep.

    Attributes:
        modes: a file that is closed to others is closed to them.
        holes: a file takes no space for what was not written.
    """

    modes: bool = True
    holes: bool = True

    @property
    def complaint(self) -> str:
        """One line about what is missing and what follows from that; empty when nothing is."""
        parts = []
        if not self.modes:
            parts.append(
                "keeps no permissions, so that whoever may enter it may change what is read (mounting it with "
                "umask=077, or file_mode=0600,dir_mode=0700 for SMB, closes it to others)"
            )
        if not self.holes:
            parts.append("has no holes, so that a file takes all of its size as soon as one byte of it is fetched")
        return f"the file system {' and '.join(parts)}" if parts else ""


def features_of(folder: Where) -> Features:
    """Make a file in `folder`, look what became of it, and remove it.

    What cannot be found out there is.

    Raises:
        OSError: no file can be made.
    """
    modes = holes = True
    with temporary_file(folder) as (fd, _):
        with contextlib.suppress(OSError):  # some refuse it, some say yes and do nothing
            os.fchmod(fd, 0o600)
        with contextlib.suppress(OSError):
            modes = not os.fstat(fd).st_mode & OTHERS_WRITE
            os.ftruncate(fd, _PROBE)
            os.pwrite(fd, b"\0", _PROBE - 1)
            holes = os.fstat(fd).st_blocks * 512 < _PROBE
    return Features(modes, holes)


def keeps_modes(folder: Where) -> bool:
    """Whether a file in `folder` can be closed to others; where none can be made that is taken for granted."""
    with contextlib.suppress(OSError):
        return features_of(folder).modes
    return True


def grants_leases(folder: Where) -> bool:
    """Whether the kernel tells of a file in `folder` that nobody else has it open: to its owner, and on most disks.

    Raises:
        OSError: no file can be made.
    """
    with temporary_file(folder) as (fd, _):
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            return False
    return True
