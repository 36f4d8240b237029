"""Attributes: what a mount says of a file, and of itself, without FUSE types."""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_SIZE = 1 << 20
"""st_blksize, so the buffer of `cp`, `cat` and Python's open(): 4 KiB would make 256 read calls out of one."""

FILE_MODE, FOLDER_MODE = 0o644, 0o755
"""As other read-only network mounts show them: a copy has the modes of what was copied, and who made it wants to change
and remove it.  Nothing can be written all the same, for the mount is read-only."""

FRAGMENT_SIZE = 4096
"""f_frsize, the unit of statfs's counts: small enough that a small model is not shown as one block."""

UNCHANGING = 365 * 86400.0
"""Seconds the kernel may keep what never changes."""

CHANGING = 1.0
"""Seconds the kernel may keep st_blocks of a file that is still arriving: `du` is honest, a busy stat() stays cheap."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What stat() shows.

    Attributes:
        inode: the number.
        mode: type and permissions.
        links: 1 for a file; 2 and one a subfolder for a folder.
        size: in bytes; 0 for a folder.
        blocks: 512-byte blocks that are present.
        mtime_ns: all three times, in nanoseconds.
        valid_for: seconds during which it cannot change, or may be shown a little late.
    """

    inode: int
    mode: int
    links: int
    size: int
    blocks: int
    mtime_ns: int
    valid_for: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """What statfs() shows: a full disk with exactly these files on it.

    Attributes:
        blocks: of FRAGMENT_SIZE bytes, all used.
        files: inodes, all used.
    """

    blocks: int
    files: int
