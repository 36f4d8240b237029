"""TarTable: which files an uncompressed tar archive holds, and where in it the bytes of each lie."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of an archive.

    Attributes:
        path: as it stands in the archive; unchecked text.
        off: where in the archive its bytes begin.
        size: in bytes.
        mtime: in seconds since 1970; 0 where the archive does not say.
    """

    path: str
    off: int
    size: int
    mtime: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A link of an archive, in the order of members.

    Attributes:
        path: as it stands in the archive; unchecked text.
        target: likewise.
        hard: `target` is the path of an earlier member; else it is a path as symbolic links have it.
        place: how many members stand before it.
    """

    path: str
    target: str
    hard: bool
    place: int


@dataclass(frozen=True, slots=True)
class TarTable:
    """The files of an archive.

    Attributes:
        members: regular files, in the order of the archive; of two with one path the later one counts.
        links: hard and symbolic links.
        left_out: what a mount cannot show: what it is, and how many there are of it.
    """

    members: tuple[Member, ...] = ()
    links: tuple[Link, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()
