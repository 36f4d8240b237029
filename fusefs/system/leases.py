"""Write leases: whether anybody else has a file open, which no lock of ours can tell of programs that hold none.

The kernel grants one only on a file that nobody else has open, and makes who opens it meanwhile wait.  It counts every
open file, so also those that it holds itself: of a FUSE file that is open by passthrough, and of the pages of one that
are mapped, when the file was closed since and when the daemon has died.  Source: fcntl(2), F_SETLEASE.
"""

from __future__ import annotations

import contextlib
import fcntl
import signal


def try_lease(fd: int) -> bool:
    """Take a write lease on `fd`; False when somebody else has the file open, or nobody can tell (NFS)."""
    try:
        # The kernel tells who holds a lease that somebody waits, by a signal: by one that does nothing.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        return False
    return True


def is_waited_for(fd: int) -> bool:
    """Whether somebody waits for the lease on `fd` to end, or it has been taken away for that."""
    return bool(fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK)


def end_lease(fd: int) -> None:
    """Give a lease back, whether there is one or not."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
