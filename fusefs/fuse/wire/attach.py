"""Attach: makes a FUSE mount and gives its device, and takes it away again.

Root calls mount(2); another user has fusermount3 do it, which is set-user-id root and sends the device over a socket.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

from fusefs.fuse.identity import identity
from fusefs.fuse.mountpoint import real_path
from fusefs.fuse.wire.device import DEVICE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fusefs.fuse.identity import Identity

_FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8}
_DETACH = 2
_HELPER = "fusermount3"

_LIMIT = "/proc/sys/fs/fuse/max_pages_limit"
_PAGES = 256
"""What kernels before 6.13 allow."""


def most_pages() -> int:
    """Pages of 4096 bytes that one READ may ask for, as this kernel has it."""
    try:
        with open(_LIMIT) as file:
            return max(1, min(int(file.read()), 0xFFFF))
    except (OSError, ValueError):
        return _PAGES


def attach(mountpoint: Path, options: Iterable[str]) -> int:
    """Mount, and give the device: a descriptor that is ours.

    Args:
        mountpoint: an empty folder.
        options: see `fusefs.fuse.session.mount_options`.

    Raises:
        OSError: it cannot be mounted this way, and why.
    """
    if os.geteuid() != 0:
        return _by_helper(mountpoint, options)
    fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        _mount(mountpoint, options, fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def detach(mountpoint: Path, made: Identity) -> None:
    """Take the mount away, though files are open.  Its device must be closed; another mount there is left alone."""
    if identity(mountpoint) != made:
        return
    where = real_path(mountpoint)
    if os.geteuid() == 0:
        _libc().umount2(os.fsencode(where), _DETACH)
        return
    helper = shutil.which(_HELPER)
    if helper is not None:
        subprocess.run(  # noqa: S603 # no shell
            [helper, "-u", "-q", "-z", "--", where], check=False, capture_output=True
        )


def _mount(mountpoint: Path, options: Iterable[str], fd: int) -> None:
    flags, source, fs_type = 0, "fuse", "fuse"
    mode = stat.S_IFMT(os.stat(mountpoint).st_mode)
    data = [f"fd={fd}", f"rootmode={mode:o}", f"user_id={os.getuid()}", f"group_id={os.getgid()}"]
    for option in sorted(options):
        name, _, value = option.partition("=")
        if name in _FLAGS:
            flags |= _FLAGS[name]
        elif name == "fsname":
            source = value
        elif name == "subtype":
            fs_type = f"fuse.{value}"
        else:
            data.append(option)
    done = _libc().mount(
        os.fsencode(source),
        os.fsencode(os.path.realpath(mountpoint)),
        fs_type.encode(),
        ctypes.c_ulong(flags),
        ",".join(data).encode(),
    )
    if done != 0:
        raise _failure(f"mount {mountpoint}")


def _by_helper(mountpoint: Path, options: Iterable[str]) -> int:
    helper = shutil.which(_HELPER)
    if helper is None:
        raise OSError(errno.ENOENT, f"{_HELPER} is missing")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        with theirs:
            said = subprocess.run(  # noqa: S603 # no shell
                [helper, "-o", ",".join(sorted(options)), "--", mountpoint],
                check=False,
                capture_output=True,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            )
        # Everybody's other end is closed now, so that this cannot wait.
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    if said.returncode != 0 or not descriptors:
        for fd in descriptors:
            os.close(fd)
        reason = said.stderr.decode(errors="replace").strip() or f"it ended with {said.returncode}"
        raise OSError(errno.EPERM, f"{_HELPER}: {reason}")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _failure(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
