"""Links: manifests by model name, `manifests/<host>/<namespace>/<model>/<tag>`, each a copy of the manifest.

Names compare case-insensitively and keep the case in which they were written first.  A part that the file system does
not take as it is (`host:8080` on exFAT) has the file name that `fusefs.values.filenames` gives it; either is found.
What was written is noted beside the bytes, so that a link that has rotted is told from one that was right
(`fusefs.cache.documents.reader`).
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import MAX_MANIFEST_SIZE
from fusefs.errors import InvalidDigest, InvalidName, NotCached
from fusefs.system.files import make_folder, read_plain, write_atomically
from fusefs.system.spot import (
    Spot,
    exists_at,
    folders_above,
    is_link_at,
    names_at,
    open_at,
    rmdir_at,
    stat_at,
    unlink_at,
)
from fusefs.system.steps import step
from fusefs.values.digest import Digest
from fusefs.values.filenames import part_of, portable
from fusefs.values.hubname import HubName
from fusefs.values.names import Name
from fusefs.values.webtree import WebTree, name_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fusefs.system.spot import Where

_PARTS = 4
"""Of a name, and of a link's path: host, namespace, model, tag."""

_NOTED = "user.fusefs.digest"
"""An extended attribute of each link that we wrote: the digest of its bytes."""

_NO_NAME = frozenset({errno.EINVAL, errno.ENOENT, errno.EILSEQ})
"""What file systems answer to a name that they do not take; exfat-fuse says ENOENT."""


class Links:
    """The folder `root` of manifests; `scratch` holds files on their way into it."""

    def __init__(self, root: Where, scratch: Where) -> None:
        self.root = root
        self._scratch = scratch
        self._listed: dict[Where, dict[str, str]] | None = None

    def remembering(self) -> Links:
        """The same for many names in a row, for a short while: a folder is listed once, not once for each new name."""
        links = Links(self.root, self._scratch)
        links._listed = {}
        return links

    def parse(self, text: str) -> Name:
        """A name that leaves nothing to defaults.

        Raises:
            InvalidName: otherwise.
        """
        return HubName.read(text) or WebTree.read(text) or Name.parse_qualified(text)

    def read(self, name: Name) -> bytes:
        """The manifest's bytes.

        Raises:
            NotCached: there is no such link.
        """
        try:
            return read_plain(self._find(name), MAX_MANIFEST_SIZE)
        except OSError as exc:
            raise NotCached(f"{name}: not in the cache") from exc

    def noted(self, name: Name) -> Digest | None:
        """The digest of the bytes that were written; None when somebody else wrote them, or the disk keeps no notes."""
        with contextlib.suppress(OSError, NotCached, InvalidDigest, UnicodeDecodeError):
            fd = open_at(self._find(name), os.O_RDONLY | os.O_NONBLOCK)
            try:
                return Digest.parse(os.getxattr(fd, _NOTED).decode())
            finally:
                os.close(fd)
        return None

    def spot(self, name: Name) -> Where:
        """Where the link lies, or would."""
        return self._locate(name)

    def path(self, name: Name) -> Path:
        """Where others find it; for messages."""
        spot = self._locate(name)
        return spot.path if isinstance(spot, Spot) else spot

    def mtime(self, name: Name) -> float | None:
        """When the link was written first, in seconds since 1970."""
        with contextlib.suppress(OSError, NotCached):
            return stat_at(self._find(name)).st_mtime
        return None

    def write(self, name: Name, data: bytes, *, durable: bool = True) -> Where | None:
        """Point `name` at `data`; the same content again changes nothing.

        Returns:
            The file, when a power cut may still tear it.  Without `durable` that is a new one only: what would replace
            another is on the disk before it does.

        Raises:
            OSError: the disk does not take it.
        """
        path = self._locate(name)
        try:
            if read_plain(path, MAX_MANIFEST_SIZE) == data:
                _note(path, data)
                return None
            durable = True
        except OSError:
            pass  # there is none
        try:
            self._replace(path, data, durable=durable)
        except OSError as exc:
            other = self._locate(name, new=portable)
            if exc.errno not in _NO_NAME or other == path:
                raise
            path = other
            self._replace(path, data, durable=durable)
        _note(path, data)
        if self._listed is not None:
            for below in (path, *folders_above(path, 3)):
                self._listed.setdefault(below.parent, {})[part_of(below.name).lower()] = below.name
        return None if durable else path

    def _replace(self, path: Where, data: bytes, *, durable: bool) -> None:
        for folder in reversed(folders_above(path, _PARTS)):
            make_folder(folder)
        with step("name linked"):
            write_atomically(path, data, self._scratch, durable=durable)

    def remove(self, name: Name) -> bool:
        """Remove the link and the folders that it leaves empty; True when it was there."""
        try:
            path = self._find(name)
            unlink_at(path)
        except (FileNotFoundError, NotCached):
            return False
        with contextlib.suppress(OSError):
            for parent in folders_above(path, 3):
                rmdir_at(parent)
        return True

    def __iter__(self) -> Iterator[Name]:
        """Every link, in order; files whose path is no name are passed over."""
        for parts in sorted({tuple(map(part_of, parts)) for parts in self._below(self.root, _PARTS)}):
            with contextlib.suppress(InvalidName):
                yield name_at(*parts)

    def _below(self, folder: Where, depth: int) -> list[tuple[str, ...]]:
        """The parts of every path that is `depth` names long; links are not followed.

        Raises:
            OSError: the disk cannot say.
        """
        try:
            names = names_at(folder)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []
        if depth == 1:
            return [(name,) for name in names]
        return [(name, *rest) for name in names for rest in self._below(folder / name, depth - 1)]

    def _find(self, name: Name) -> Where:
        """The path of `name`, in the case in which it exists.

        Raises:
            NotCached: a symbolic link, which could lead out of the cache, takes the place of a folder.
        """
        path = self._locate(name)
        self._check(path)
        return path

    def _check(self, path: Where) -> None:
        for folder in folders_above(path, 3):
            if is_link_at(folder):
                raise NotCached(f"{folder}: a symbolic link in the cache, which is not followed")

    def _locate(self, name: Name, new: Callable[[str], str] = str) -> Where:
        """The path of `name`, in the case in which it exists; `new` gives the file name of what does not."""
        path = self.root
        for part in name.path:
            exact = path / part
            path = exact if exists_at(exact) else path / self._entries(path).get(part.lower(), new(part))
        return path

    def _entries(self, folder: Where) -> dict[str, str]:
        """What is in `folder`: lower-case to actual, of several the first in order, and a plain one before another."""
        if self._listed is not None and folder in self._listed:
            return self._listed[folder]
        entries = {}
        with contextlib.suppress(OSError):
            last_wins = sorted(names_at(folder), key=lambda entry: (part_of(entry) != entry, entry), reverse=True)
            entries = {part_of(entry).lower(): entry for entry in last_wins}
        if self._listed is not None:
            self._listed[folder] = entries
        return entries


def _note(path: Where, data: bytes) -> None:
    """Note what was written, where the disk can."""
    digest = str(Digest.of(data)).encode()
    with contextlib.suppress(OSError):
        fd = open_at(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if _NOTED not in os.listxattr(fd) or os.getxattr(fd, _NOTED) != digest:
                os.setxattr(fd, _NOTED, digest)
        finally:
            os.close(fd)
