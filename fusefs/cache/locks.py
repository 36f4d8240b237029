"""Open-file-description locks on single bytes of a file.

They belong to the open file, not to the process: the kernel drops them when a process dies, so a crash blocks nobody,
and closing another descriptor of the same file does not drop them (as it would with classic POSIX locks).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

# struct flock of Linux on 64 bits: l_type, l_whence, l_start, l_len, l_pid (which must be 0 for OFD locks).
_FLOCK = struct.Struct("hhqqi4x")


def try_lock(fd: int, off: int, *, shared: bool = False) -> bool:
    """Take the lock on byte `off` if nobody else has it; at once.

    Returns:
        False when another open file holds it.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _pack(fcntl.F_RDLCK if shared else fcntl.F_WRLCK, off))
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def wait_lock(fd: int, off: int) -> None:
    """Take the lock on byte `off`, waiting for whoever holds it.  Only for short critical sections."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _pack(fcntl.F_WRLCK, off))


def is_locked(fd: int, off: int) -> bool:
    """True when another open file holds the lock on byte `off`, shared or not; takes nothing, also on a read-only disk.

    Raises:
        OSError: as the kernel says.
    """
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _pack(fcntl.F_WRLCK, off))
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def unlock(fd: int, off: int) -> None:
    """Release the lock on byte `off`."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _pack(fcntl.F_UNLCK, off))


def _pack(kind: int, off: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, off, 1, 0)
