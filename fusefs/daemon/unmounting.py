"""Ending a mount, whatever state it is in (P11): politely, then through its daemon, then by the kernel's own means."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from fusefs.daemon.background import wait_end
from fusefs.daemon.proof import Process, prove
from fusefs.errors import MountError
from fusefs.fuse.identity import identity
from fusefs.fuse.kernel import abort
from fusefs.fuse.mountpoint import Mounted, mounted_at, real_path

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.fuse.identity import Identity

PATIENCE = 5.0
"""Seconds the daemon has to end after each request to do so."""

_LINGERS = 1.0
"""Seconds in which a process that was ended has closed its files."""

_LOOK = 0.05
"""Seconds between two attempts."""

_DETACH, _NO_FOLLOW = 2, 8  # umount2(2): MNT_DETACH, UMOUNT_NOFOLLOW


class Busy(Exception):
    """Somebody has a file or a folder of the mount open."""


def unmount(path: Path) -> None:
    """End the fusefs mount at `path`; returns when it is gone and its daemon has ended.

    Raises:
        MountError: nothing of ours is mounted there, it is somebody else's, or the kernel refuses.
    """
    mount = _ours(path)
    process = prove(mount)
    with contextlib.ExitStack() as stack:
        if process is not None:
            stack.callback(process.close)
        if not _is_there(mount):
            # It ended meanwhile; its number may be another mount's by now, whose daemon is not to be signalled.
            if process is not None:
                wait_end(process.pidfd, PATIENCE)
            return
        try:
            detach(mount.mountpoint, lazy=False)
        except Busy:
            _insist(mount, process)
        if process is not None:
            _wait_daemon(process)


def leave(path: Path, made: Identity | None) -> bool:
    """End one mount of ours, but for those who use it: they keep what they have open.

    Args:
        path: where it is.
        made: which mount it is; what else is there by now is left alone.

    Returns:
        Whether nobody used it.  Else nobody finds it any more, and it ends with its last user.

    Raises:
        MountError: the kernel or fusermount3 refuses.
    """
    if made is None or identity(path) != made:
        return True
    mount = _ours(path)
    process = prove(mount)
    with contextlib.ExitStack() as stack:
        if process is not None:
            stack.callback(process.close)
        if not _unused(mount):
            detach(mount.mountpoint, lazy=True)
            return False
        if process is not None:
            _wait_daemon(process)
    return True


def _unused(mount: Mounted) -> bool:
    """Unmount what nobody uses; who was ended just now has a moment to close its files."""
    deadline = time.monotonic() + _LINGERS
    while True:
        try:
            detach(mount.mountpoint, lazy=False)
        except Busy:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK)
        else:
            return True


def _ours(path: Path) -> Mounted:
    mountpoint = real_path(path)
    mount = mounted_at(mountpoint)
    if mount is None:
        what = "is not mounted" if os.path.lexists(mountpoint) else "does not exist"
        raise MountError(f"{path} {what}; `fusefs status` lists the mounts")
    if not mount.ours:
        raise MountError(f"{path} is not a fusefs mount but one of type {mount.fs_type}; use `umount` for it")
    if os.geteuid() not in (0, mount.user):
        raise MountError(f"{path} was mounted by user {mount.user}; unmount it as that user or as root")
    return mount


def _insist(mount: Mounted, process: Process | None) -> None:
    """Somebody uses it: its daemon ends the mount, else the kernel cuts the connection; users get ENOTCONN.

    Where no process is proved to be its daemon the kernel's own means are the only ones.
    """
    if process is not None:
        _ask_to_end(process)
        wait_end(process.pidfd, PATIENCE)
        if not _is_there(mount):
            return
    abort(mount.minor)
    if _is_there(mount):
        detach(mount.mountpoint, lazy=True)
    if process is not None:
        # It had its time to end in good order; nothing that it still does can be of use to anybody.
        _kill(process)


def _wait_daemon(process: Process) -> None:
    """The mount is gone; what its daemon still holds (locks, a port, memory) shall be gone too when we return."""
    process.signal(signal.SIGCONT)  # one that was stopped does not notice by itself that it has nothing to serve
    for end in (_ask_to_end, _kill):
        if wait_end(process.pidfd, PATIENCE):
            return
        end(process)
    wait_end(process.pidfd, PATIENCE)


def _ask_to_end(process: Process) -> None:
    """One that was stopped (SIGSTOP, Ctrl-Z) has to go on for that."""
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGCONT)


def _kill(process: Process) -> None:
    process.signal(signal.SIGKILL)


def _is_there(mount: Mounted) -> bool:
    """Whether this very mount is still on top at its mount point."""
    return mounted_at(mount.mountpoint) == mount


def detach(mountpoint: Path, *, lazy: bool) -> None:
    """Unmount, as root by the system call, else with the help of fusermount3.

    Args:
        mountpoint: absolute, as the kernel lists it.
        lazy: take it out of the tree now, though it is in use; it ends with its last user.

    Raises:
        Busy: it is in use, and `lazy` was not asked for.
        MountError: the kernel or fusermount3 refuses.
    """
    if os.geteuid() == 0:
        _umount2(mountpoint, lazy=lazy)
    else:
        _fusermount(mountpoint, lazy=lazy)


def _umount2(mountpoint: Path, *, lazy: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mountpoint), _NO_FOLLOW | (_DETACH if lazy else 0)) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EBUSY:
        raise Busy
    if number != errno.EINVAL or mounted_at(mountpoint) is not None:  # EINVAL: somebody else was faster
        raise MountError(f"cannot unmount {mountpoint}: {os.strerror(number)}")


def _fusermount(mountpoint: Path, *, lazy: bool) -> None:
    program = shutil.which("fusermount3")
    if program is None:
        raise MountError("fusermount3 is not installed; install it (apt install fuse3) or unmount as root")
    command = [program, "-u", *(["-z"] if lazy else []), "--", str(mountpoint)]
    done = subprocess.run(  # noqa: S603 # a list, no shell; the path comes from the kernel's list
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode == 0:
        return
    said = " ".join(done.stderr.split())
    if "busy" in said.lower():
        raise Busy
    raise MountError(f"cannot unmount {mountpoint}: {said or f'fusermount3 failed with {done.returncode}'}")
