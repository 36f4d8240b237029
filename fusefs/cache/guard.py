"""Guard: nobody but us gets at the cache directory, and nothing in it leads out of it.

What is served was proved when it came and is not hashed again at each read, so whoever can write to the cache can
change what readers get: a directory that somebody else can write to is refused.  What is ours is closed to others.

A file system that keeps no modes (NTFS, exFAT, SMB: `fusefs.system.features`) cannot close anything, whatever we ask of
it.  It is used as it was mounted, and who starts a mount or a pull is told.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from typing import TYPE_CHECKING

from fusefs.errors import CacheError
from fusefs.system.features import OTHERS_WRITE, keeps_modes
from fusefs.system.spot import chmod_folder_at, mkdir_at, stat_at

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.system.spot import Held, Spot

FOLDERS = ("blobs", "manifests", "partial", "pins", "quarantine", "starts")
"""All that we make in a cache directory."""

_NEIGHBOURS = {"serve"}
"""What others of our commands keep there (`fusefs.offers.kept`)."""

_OTHERS_ENTER = 0o011

_OURS, _SHARED = 0o700, 0o711
"""A shared folder can be passed by who was told the name of what is in it, but not listed."""


def guard(root: Held, *, shared: bool) -> None:
    """Look who may do what with the cache directory, and close it to others.

    Args:
        root: the directory, held open: what is looked at here is what is used afterwards.
        shared: others follow symbolic links to sealed blobs.

    Raises:
        CacheError: it is somebody else's, or others may write to it, or it has a link where a folder must be.
        OSError: it cannot be looked at.
    """
    info = os.fstat(root.fd)
    _check_owner(root.spot, info)
    names = os.listdir(root.fd)
    if info.st_mode & OTHERS_WRITE and names and keeps_modes(root.spot):
        raise _writable(root.path)
    # A directory that has other things in it as well is not ours to close; the folders that we make in it are.
    if not set(names) - set(FOLDERS) - _NEIGHBOURS:
        _close(root.spot, info, shared=shared)
    for name in FOLDERS:
        path = root / name
        with contextlib.suppress(FileNotFoundError):
            inner = stat_at(path)
            if not stat.S_ISDIR(inner.st_mode):
                raise CacheError(f"{path} is no folder, and links are not followed; remove it: rm {path}")
            _check_owner(path, inner)
            if inner.st_mode & OTHERS_WRITE and info.st_mode & _OTHERS_ENTER and keeps_modes(path):
                raise _writable(path.path)
            _close(path, inner, shared=shared and name == "blobs")


def check_ours(root: Held) -> None:
    """Refuse a directory that is somebody else's, or that others may write to.

    Raises:
        CacheError: it is, with what to do.
        OSError: it cannot be looked at.
    """
    info = os.fstat(root.fd)
    _check_owner(root.spot, info)
    if info.st_mode & OTHERS_WRITE and keeps_modes(root.spot):
        raise _writable(root.path)


def make(path: Spot, *, shared: bool) -> None:
    """Make the folder `path` unless it is there.

    Raises:
        OSError: it cannot be made.
    """
    with contextlib.suppress(FileExistsError):
        mkdir_at(path)
        if shared:
            chmod_folder_at(path, _SHARED)  # whatever the umask is


def _check_owner(spot: Spot, info: os.stat_result) -> None:
    if info.st_uid == 0 and info.st_mode & OTHERS_WRITE and not keeps_modes(spot):
        return  # root has mounted it for everybody; what we make there is root's, too
    if info.st_uid != os.geteuid():
        raise CacheError(
            f"cache directory {spot} belongs to {_name(info.st_uid)}, who could change the bytes that are read; "
            f"run as {_name(info.st_uid)}, or name another with --cache-dir"
        )


def _writable(path: Path) -> CacheError:
    return CacheError(
        f"others may write to the cache directory {path}; if you trust its content: chmod -R go-w {path}; "
        "else name another with --cache-dir"
    )


def _close(path: Spot, info: os.stat_result, *, shared: bool) -> None:
    mode = stat.S_IMODE(info.st_mode)
    wanted = _SHARED if shared else _OURS
    if mode & 0o077 & ~wanted == 0 and mode & wanted == wanted:
        return
    if mode == _SHARED:
        return  # another mount shares it
    with contextlib.suppress(OSError):  # a read-only disk, or one that has no modes
        chmod_folder_at(path, wanted)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
