"""Open-file-description locks on single bytes of a file.

They belong to the open file, not to the process: the kernel drops them when a process dies, so a crash blocks nobody,
and closing another descriptor of the same file does not drop them (as it would with classic POSIX locks).

The order.  The kernel finds no deadlock among these locks, so whoever holds one waits only for what stands further
right:

    Quota → Chunker.seal_lock → Lock.SEAL → Lock.CHANGE → PrefixHash.lock → Recent, Spill, DirectFile, DiskCache

    Quota                   while room is made, and while an idle blob is closed
    Chunker.seal_lock       one thread of this process judges the whole blob; eviction tries it for a moment
    Lock.SEAL               one process does; for as long as it hashes, which may be minutes
    Lock.CHANGE             files of the blob are created, renamed, judged, or holes are punched; short
    PrefixHash.lock         the running hash goes on, or starts again
    the rest                never held while another is waited for

Three are not in that row, because nobody waits for them while he holds another:

    a chunk's lock          a worker has it before Quota and Lock.CHANGE, and may wait for them; so it is only tried.
                            What is held by another process is looked at again later (`Flights`).  Who binds a list
                            waits for all of them, with Lock.SEAL alone, for which no worker waits.
    Lock.OPEN               shared while the blob is open; only tried.
    fetch.Opener's lock     of the event loop; one task at a time opens a blob.

Nobody waits in the kernel.  A second descriptor in the same process is another owner to the kernel, which would let a
thread sleep for what it holds itself; a descriptor that somebody leaked, or a process that was stopped, would hold up
all others for ever.  `wait_lock` tries instead, wakes at once when this process gives a lock back, and ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# struct flock of Linux on 64 bits: l_type, l_start, l_len.  What lies between and behind them is 0: l_whence, which is
# SEEK_SET so, and l_pid, which must be 0 for OFD locks.
_FLOCK = struct.Struct("h6xqq8x")

PATIENCE = 5.0
"""Seconds to wait for a lock at most: unmount waits for whoever opens a blob, and has to end within seconds (P11).
Whoever has more time asks again (`fusefs.fetch.idle`)."""

_POLL = (0.001, 0.05)
"""Seconds between two looks at a lock that another process has: at first, and at most."""

_given_back = threading.Condition()
"""Told of every lock that this process gives back."""


class LockHeld(TimeoutError):
    """Somebody else has had a lock for too long."""


def try_lock(fd: int, off: int, *, shared: bool = False, count: int = 1) -> bool:
    """Take the locks on `count` bytes from `off` on if nobody else has one of them; at once, all or none.

    Returns:
        False when another open file holds it.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK if shared else fcntl.F_WRLCK, off, count))
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def wait_lock(fd: int, off: int, timeout: float | None = None) -> None:
    """Take the lock on byte `off`, waiting for whoever holds it, in this process or another.

    Args:
        fd: of the file.
        off: which lock.
        timeout: seconds to wait at most; `PATIENCE` for None.

    Raises:
        LockHeld: it was not to be had in time.
        OSError: as the kernel says.
    """
    if timeout is None:
        timeout = PATIENCE
    deadline = time.monotonic() + timeout
    pause, longest = _POLL
    while not try_lock(fd, off):
        left = deadline - time.monotonic()
        if left <= 0:
            text = f"another process, or a thread of this one, has held its lock for over {timeout:g} s"
            raise LockHeld(errno.ETIMEDOUT, text)
        # What is given back between the try and the wait is noticed one pause later.
        with _given_back:
            _given_back.wait(min(pause, left))
        pause = min(2 * pause, longest)


@contextlib.contextmanager
def turn(thread: threading.Lock) -> Iterator[None]:
    """Hold the lock that goes before one of the kernel's: one thread at a time asks for it.

    Raises:
        LockHeld: another thread has it for too long.
    """
    if not thread.acquire(timeout=PATIENCE):
        raise LockHeld(errno.ETIMEDOUT, f"another thread has held its lock for over {PATIENCE:g} s")
    try:
        yield
    finally:
        thread.release()


def wait_locks(fd: int, span: range) -> None:
    """Take the locks on all bytes of `span`, waiting for those who hold some.

    What is free is taken first, so that who goes from one byte to the next is met once and not followed.

    Raises:
        LockHeld: one was not to be had within `PATIENCE`; others may have been taken.
        OSError: as the kernel says.
    """
    deadline = time.monotonic() + PATIENCE
    for off in _take_free(fd, span):
        wait_lock(fd, off, max(0.0, deadline - time.monotonic()))


def _take_free(fd: int, span: range) -> list[int]:
    """Take what nobody has; which bytes somebody has."""
    if not span or try_lock(fd, span.start, count=len(span)):
        return []
    if len(span) == 1:
        return [span.start]
    half = len(span) // 2
    return _take_free(fd, span[:half]) + _take_free(fd, span[half:])


def is_locked(fd: int, off: int) -> bool:
    """True when another open file holds the lock on byte `off`, shared or not; takes nothing, also on a read-only disk.

    Raises:
        OSError: as the kernel says.
    """
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, off, 1))
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def unlock(fd: int, off: int, count: int = 1) -> None:
    """Release the locks on `count` bytes from `off` on."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, off, count))
    with _given_back:
        _given_back.notify_all()
