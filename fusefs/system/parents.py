"""Parents: the folders above the cache, whose writers could put another cache in its place.

Whoever may write to a folder may rename what lies in it.  The rule is `safe_path` of OpenSSH (auth StrictModes): each
folder on the way belongs to root or to us and nobody else may write to it.  A sticky folder (/tmp) is excepted, for
only the owner of an entry may rename it there; the entry that the way takes must be root's or ours in any case.  So is
a folder of a file system that keeps no modes (`fusefs.system.features`): nobody can close it, and who uses such a disk
is told so when a mount or a pull begins.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from fusefs.errors import CacheError
from fusefs.system.features import OTHERS_WRITE, keeps_modes

_MOST_LINKS = 40
"""As the kernel's MAXSYMLINKS."""

_MODE = 0o755
"""Of the parents that we make; with the umask 002 they would be refused at the next start."""


def check_parents(root: Path) -> None:
    """Refuse the cache directory `root` when somebody else could rename it, or a link on the way to it.

    The way is walked as the kernel does, through each symbolic link and the folders that this lies in.  What does not
    exist yet is not looked for.

    Raises:
        CacheError: names the folder or link, and what to do.
        OSError: it cannot be looked at.
    """
    rest = list(reversed(root.parts[1:]))
    folder = Path("/")
    links = 0
    while True:
        if rest:  # the last is the cache itself, for which `guard` has stricter rules
            _check_folder(folder, root)
        else:
            return
        part = rest.pop()
        if part == "..":
            folder = folder.parent
            continue
        path = folder / part
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            return
        if not stat.S_ISLNK(info.st_mode):
            folder = path
            continue
        _check_owner(path, info, root)
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(root))
        target = Path(os.readlink(path))
        if target.is_absolute():
            folder = Path("/")
        rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def make_parents(root: Path) -> None:
    """Make the folders above `root` that are missing, so that nobody else can write to them whatever the umask is.

    Raises:
        OSError: one cannot be made.
    """
    missing = []
    for path in root.parents:
        if path.exists():
            break
        missing.append(path)
    for path in reversed(missing):
        path.mkdir(mode=_MODE, exist_ok=True)


def _check_folder(path: Path, root: Path) -> None:
    info = os.stat(path)
    _check_owner(path, info, root)
    if info.st_mode & OTHERS_WRITE and not info.st_mode & stat.S_ISVTX and keeps_modes(path):
        raise CacheError(
            f"others may write to {path}, so they could put another cache in the place of {root}: "
            f"chmod go-w {path}, or name another cache with --cache-dir"
        )


def _check_owner(path: Path, info: os.stat_result, root: Path) -> None:
    if info.st_uid not in (0, os.geteuid()):
        raise CacheError(
            f"{path} belongs to user {info.st_uid}, who could put another cache in the place of {root}; "
            "name another cache with --cache-dir"
        )
