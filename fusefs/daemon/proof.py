"""Proof: which process is the daemon of a mount, by the word of the kernel.  What a user's socket says proves nothing.

A socket outlives the process that listened: its owner can hand it on, and the pid in SO_PEERCRED then belongs to
whoever was given it since.  So a process is signalled only by a pidfd, and only when it is proved to be the daemon.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.daemon.control import daemon_of
from fusefs.fuse.mountpoint import DEVICE

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from fusefs.fuse.mountpoint import Mounted


class Process:
    """The proved daemon of a mount, held by a pidfd: its pid cannot come to mean another process.

    Args:
        pidfd: closed by `close`.
        pid: of the same process.
        uid: whose mount it serves.

    Attributes:
        pidfd: see above.
        pid: see above; to be shown, never to be signalled.
    """

    def __init__(self, pidfd: int, pid: int, uid: int) -> None:
        self.pidfd = pidfd
        self.pid = pid
        self._uid = uid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended, or runs a program of other rights by now."""
        import signal as signals

        if _owner(self.pid) == {self._uid} and alive(self.pidfd):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signals.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.pidfd)


def prove(mount: Mounted) -> Process | None:
    """The daemon of `mount`, or None where no process is proved to be it.

    It belongs to the mount's user, and has this very FUSE connection open (`fuse_connection:` in fdinfo).  Where /proc
    does not tell (an older kernel, an ordinary user, whose daemon keeps its memory private), the socket in the asker's
    own runtime directory is believed for a mount of his own; for somebody else's mount nothing is.
    """
    for pid in _processes(mount.user):
        if (found := _held(pid, mount.user, partial(_serves, pid, mount.minor))) is not None:
            return found
    if mount.user != os.geteuid():
        return None
    peer = daemon_of(mount)
    if peer is None or peer.uid != mount.user:
        return None
    return _held(peer.pid, mount.user, partial(_may_serve, peer.pid))


def _serves(pid: int, minor: int) -> bool:
    return minor in connections(pid)


def _may_serve(pid: int) -> bool:
    """Whether /proc does not speak against it; an own daemon's descriptors may be hidden from its owner.

    An ordinary user cannot list them; a daemon of root, which gave CAP_SYS_PTRACE up, can list but not look at them.
    """
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                os.readlink(f"/proc/{pid}/fd/{fd}")
    except PermissionError:
        return True
    except OSError:
        return False
    return None in connections(pid)


def _held(pid: int, uid: int, proved: Callable[[], bool]) -> Process | None:
    """The process, if `proved` holds between two looks at its owner and it lives after them.

    While the process behind a pidfd lives nobody else has its pid, so what /proc said was about this process.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    began = _began(pid)
    if _owner(pid) == {uid} and proved() and _owner(pid) == {uid} and _began(pid) == began and alive(pidfd):
        return Process(pidfd, pid, uid)
    os.close(pidfd)
    return None


def alive(pidfd: int) -> bool:
    """Whether the process behind `pidfd` has not ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def _processes(uid: int) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdecimal() and _owner(int(name)) == {uid}:
            yield int(name)


def _owner(pid: int) -> set[int]:
    """Real, effective, saved and file-system user: more than one for a program that was given rights."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return set()
    found = re.search(rb"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)$", status, re.MULTILINE)
    return {int(uid) for uid in found.groups()} if found else set()


def _began(pid: int) -> bytes:
    """Its start time in clock ticks since boot: field 22 of proc(5) stat, the 20th after the command's name."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()[19]
    except (OSError, IndexError):
        return b""


def connections(pid: int) -> set[int | None]:
    """The FUSE connections that a process has open, by their minor; None stands for one that the kernel does not name.

    Source: fs/fuse/dev.c, fuse_dev_show_fdinfo.
    """
    found: set[int | None] = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") != str(DEVICE):
                    continue
                named = re.search(
                    rb"^fuse_connection:\s*(\d+)$", Path(f"/proc/{pid}/fdinfo/{fd}").read_bytes(), re.MULTILINE
                )
                found.add(int(named[1]) if named else None)
    return found
