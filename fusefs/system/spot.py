"""Spots: names below a directory that is held open, and the calls of the operating system on them.

A path says what lies there now; whoever may rename a folder on the way makes it say something else.  A descriptor goes
on meaning the directory that was opened and checked, wherever it is moved, so the cache reaches all of its files from
one (openat(2)), and its path is for messages.  What is below it is ours alone (`fusefs.cache.guard`); symbolic links
are not followed there.

A plain path is taken as well, for what lies outside of the cache.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

SAFE = os.O_CLOEXEC | os.O_NOFOLLOW
"""The same open flags everywhere: a symbolic link in the cache would lead out of it."""


class Held:
    """A directory that is held open for as long as anybody has this.

    Attributes:
        path: where it was when it was opened, absolute; for messages.
        fd: its descriptor.

    Raises:
        OSError: it cannot be opened, or is none.
    """

    __slots__ = ("fd", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def __truediv__(self, below: str) -> Spot:
        return Spot(self, below)

    @property
    def spot(self) -> Spot:
        """The directory itself."""
        return Spot(self, "")


class Spot:
    """The name `below` under a held directory, whether there is something or not; empty for the directory itself."""

    # No dataclass and no Path: one is made for every blob that `ls -lR` shows, and joining a Path takes longer than a
    # stat.
    __slots__ = ("__dict__", "below", "held")

    def __init__(self, held: Held, below: str) -> None:
        self.held = held
        self.below = below

    def __truediv__(self, name: str) -> Spot:
        return Spot(self.held, f"{self.below}/{name}" if self.below else name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spot) and self.held is other.held and self.below == other.below

    def __hash__(self) -> int:
        return hash(self.below)

    def __str__(self) -> str:
        return str(self.path)

    __repr__ = __str__

    @cached_property
    def path(self) -> Path:
        """Where it was when the directory was opened; for messages, and for others who must be told a path."""
        return self.held.path / self.below

    @property
    def name(self) -> str:
        """The last part."""
        return self.below.rpartition("/")[2]

    @property
    def parent(self) -> Spot:
        """The folder that it lies in; the held directory is its own."""
        return Spot(self.held, self.below.rpartition("/")[0])


Where: TypeAlias = Spot | Path


def folders_above(where: Where, most: int) -> list[Where]:
    """The folders that it lies in, at most so many, the innermost first."""
    found: list[Where] = []
    while len(found) < most and where.parent != where:
        where = where.parent
        found.append(where)
    return found


def _call(where: Where) -> tuple[int | None, str]:
    """The descriptor and the name for a call."""
    if isinstance(where, Spot):
        return where.held.fd, where.below or "."
    return None, str(where)


def open_at(where: Where, flags: int) -> int:
    """As open(2); symbolic links are not followed, and a new file is for us alone."""
    folder, name = _call(where)
    return os.open(name, flags | SAFE, 0o600, dir_fd=folder)


def stat_at(where: Where) -> os.stat_result:
    """As lstat(2)."""
    folder, name = _call(where)
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def exists_at(where: Where) -> bool:
    """Whether there is something with this name, even a link that leads nowhere."""
    with contextlib.suppress(OSError):
        stat_at(where)
        return True
    return False


def is_link_at(where: Where) -> bool:
    """Whether it is a symbolic link."""
    with contextlib.suppress(OSError):
        return stat.S_ISLNK(stat_at(where).st_mode)
    return False


def is_folder_at(where: Where) -> bool:
    """Whether it is a folder, and no link to one."""
    with contextlib.suppress(OSError):
        return stat.S_ISDIR(stat_at(where).st_mode)
    return False


def unlink_at(where: Where) -> None:
    """As unlink(2)."""
    folder, name = _call(where)
    os.unlink(name, dir_fd=folder)


def rmdir_at(where: Where) -> None:
    """As rmdir(2)."""
    folder, name = _call(where)
    os.rmdir(name, dir_fd=folder)


def mkdir_at(where: Where) -> None:
    """As mkdir(2); for us alone."""
    folder, name = _call(where)
    os.mkdir(name, 0o700, dir_fd=folder)


def chmod_folder_at(where: Where, mode: int) -> None:
    """As chmod(2) on a folder; a symbolic link to one is none."""
    fd = open_at(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def rename_at(source: Where, target: Where) -> None:
    """As rename(2)."""
    (before, old), (after, new) = _call(source), _call(target)
    os.rename(old, new, src_dir_fd=before, dst_dir_fd=after)


def replace_at(source: Where, target: Where) -> None:
    """As rename(2), and said so where a file with the new name is expected."""
    (before, old), (after, new) = _call(source), _call(target)
    os.replace(old, new, src_dir_fd=before, dst_dir_fd=after)


def names_at(where: Where) -> list[str]:
    """What is in a folder; a symbolic link to one is none."""
    fd = open_at(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def remove_tree_at(where: Where) -> None:
    """Remove a folder and all that is in it, as far as that can be had."""
    folder, name = _call(where)
    shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
