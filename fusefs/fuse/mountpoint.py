"""Mount points: what is mounted where, and whether a folder can take a mount.

What is mounted is read from /proc/self/mountinfo, never by asking the file system: a stat() that goes to our own
mount from our own process would wait for itself.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from fusefs.errors import MountError

FS_TYPE = "fuse.fusefs"
"""As in /proc/mounts: the kernel's `fuse.` and our `subtype=`."""

MOUNTINFO = Path("/proc/self/mountinfo")
DEVICE = Path("/dev/fuse")


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of mountinfo.

    Attributes:
        mountpoint: where.
        fs_type: as in /proc/mounts.
        source: `fsname=` of ours.
        minor: of st_dev; names the FUSE connection and the backing device in /sys.
        user: who made it, for a FUSE mount; 0 for any other.
    """

    mountpoint: Path
    fs_type: str
    source: str
    minor: int
    user: int = 0

    @property
    def ours(self) -> bool:
        """Whether it is a mount of fusefs."""
        return self.fs_type == FS_TYPE


def mounted(mountinfo: Path = MOUNTINFO) -> list[Mounted]:
    """Everything that is mounted, in the order of mounting.  Format: proc(5)."""
    found = []
    for line in mountinfo.read_bytes().splitlines():
        fields = os.fsdecode(line).split(" ")
        optional_end = fields.index("-", 6)
        fs_type, source = fields[optional_end + 1 : optional_end + 3]
        minor = int(fields[2].partition(":")[2])
        user = re.search(r"(?:^|,)user_id=(\d+)", fields[optional_end + 3])
        found.append(
            Mounted(Path(_unescape(fields[4])), fs_type, _unescape(source), minor, int(user[1]) if user else 0)
        )
    return found


def mounted_at(path: Path, mountinfo: Path = MOUNTINFO) -> Mounted | None:
    """What is mounted at exactly `path` (the topmost of several), or None."""
    where = real_path(path)
    return next((found for found in reversed(mounted(mountinfo)) if found.mountpoint == where), None)


def real_path(path: Path) -> Path:
    """`path` absolute, without symbolic links, and without touching what is mounted there where that can be avoided.

    A symbolic link as the last component is followed; a dead or busy mount is not asked.
    """
    absolute = Path(os.path.abspath(path))
    resolved = Path(os.path.realpath(absolute.parent)) / absolute.name
    if any(found.mountpoint == resolved for found in mounted()):
        return resolved
    return Path(os.path.realpath(resolved))


def check_mountpoint(path: Path) -> Path:
    """The real path of a folder that can take a mount.

    Raises:
        MountError: it cannot; one line that says what to do.
    """
    where = real_path(path)
    there = mounted_at(where)
    try:
        mode = os.stat(where).st_mode
        if there is not None:
            remedy = f"fusefs umount {where}, or mount with --replace" if there.ours else f"umount {where}"
            raise MountError(f"{where}: {there.fs_type} is already mounted there; run: {remedy}")
        if not stat.S_ISDIR(mode):
            raise MountError(f"{where}: not a folder; choose an empty folder")
        with os.scandir(where) as entries:
            if next(entries, None) is not None:
                raise MountError(f"{where}: not empty; choose an empty folder")
    except OSError as exc:
        raise MountError(f"{where}: {_advice(exc, where)}") from exc
    if os.getuid() != 0 and not os.access(where, os.W_OK):
        raise MountError(f"{where}: you may not mount there; choose a folder that you may write to")
    return where


def check_device(device: Path = DEVICE) -> None:
    """See that FUSE can be used at all.

    Raises:
        MountError: it cannot; one line that says what to do.
    """
    if not device.exists():
        raise MountError(
            f"{device} is missing; run: modprobe fuse (in a container: start it with --device {device} "
            "--cap-add SYS_ADMIN)"
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise MountError(f"{device}: no permission; run as root, or: chmod 666 {device}")
    if os.getuid() != 0 and shutil.which("fusermount3") is None:
        raise MountError("fusermount3 is missing; install the package fuse3, or run as root")


def _advice(exc: OSError, where: Path) -> str:
    match exc.errno:
        case errno.ENOENT:
            return f"no such folder; run: mkdir -p {where}"
        case errno.ENOTDIR:
            return "not a folder; choose an empty folder"
        case errno.ENOTCONN | errno.ECONNABORTED:
            return f"a mount was left there by a crash; run: fusefs umount {where}"
        case errno.EACCES | errno.EPERM:
            return "no permission; choose a folder of your own, or run as who owns it"
    return exc.strerror or str(exc)


def _unescape(text: str) -> str:
    """Mountinfo writes space, tab, newline and backslash as three octal digits, byte by byte."""
    raw = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), os.fsencode(text))
    return os.fsdecode(raw)
