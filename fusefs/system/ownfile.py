"""A file of one's own to append to: no link of somebody else's is followed, and nobody else can put one in its way.

Root often runs with the HOME of a user (sudo keeps it), who may make any name there mean any file.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_OTHERS_WRITE = 0o022


def open_to_append(path: Path) -> int:
    """A descriptor of the regular file `path`, made if need be, of mode 0600 from now on.

    Raises:
        PermissionError: it is a link or no regular file or not ours, or others may write to a folder above it.
        OSError: it cannot be opened.
    """
    folder = trusted(path.parent)
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        fd = os.open(path.name, flags, 0o600, dir_fd=at)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise _refused(path, f"{path} is a symbolic link: name the file itself") from exc
        raise
    finally:
        os.close(at)
    try:
        _check(path, os.fstat(fd))
        os.fchmod(fd, 0o600)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _refused(path, f"{path} is not a regular file")
    if found.st_uid != os.geteuid():
        raise _refused(path, f"{path} belongs to user {found.st_uid}")
    if found.st_nlink > 1:
        raise _refused(path, f"{path} is a hard link: another name leads to the same file")


def trusted(folder: Path) -> Path:
    """The real path of an existing folder, which only root and we can change, and every folder above it.

    A sticky folder of root (/tmp) may be everybody's: nobody renames what is ours there.  As secure_path in OpenSSH.

    Raises:
        PermissionError: somebody else can.
        OSError: there is none.
    """
    real = Path(os.path.realpath(folder, strict=True))
    for part in (real, *real.parents):
        found = part.lstat()
        if found.st_uid not in (0, os.geteuid()):
            raise _refused(part, f"the folder {part} belongs to user {found.st_uid}")
        sticky = found.st_mode & stat.S_ISVTX and found.st_uid == 0
        if found.st_mode & _OTHERS_WRITE and not sticky:
            raise _refused(part, f"others may write to the folder {part}: chmod go-w {part}")
    return real


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, where only root and we can change what is above.

    Raises:
        OSError: as `trusted`.
    """
    there = next(part for part in (folder, *folder.parents) if os.path.lexists(part))
    trusted(there)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _refused(path: Path, why: str) -> PermissionError:
    return PermissionError(errno.EPERM, why, str(path))
