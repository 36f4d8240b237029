"""Links: manifests by model name, `manifests/<host>/<namespace>/<model>/<tag>`, each a copy of the manifest.

Names compare case-insensitively and keep the case in which they were written first.  What was written is noted beside
the bytes, so that a link that has rotted is told from one that was right (`fusefs.cache.recall`).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from fusefs.cache.files import make_folder, read_plain, write_atomically
from fusefs.digest import Digest
from fusefs.errors import InvalidDigest, InvalidName, NotCached
from fusefs.manifest import MAX_MANIFEST_SIZE
from fusefs.names import Name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_NOTED = "user.fusefs.digest"
"""An extended attribute of each link that we wrote: the digest of its bytes."""


class Links:
    """The folder `root` of manifests; `scratch` holds files on their way into it."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self._scratch = scratch
        self._listed: dict[Path, dict[str, str]] | None = None

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
        return Name.parse_qualified(text)

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
            return Digest.parse(os.getxattr(self._find(name), _NOTED, follow_symlinks=False).decode())
        return None

    def path(self, name: Name) -> Path:
        """Where the link lies, or would."""
        return self._locate(name)

    def mtime(self, name: Name) -> float | None:
        """When the link was written first, in seconds since 1970."""
        with contextlib.suppress(OSError, NotCached):
            return self._find(name).stat().st_mtime
        return None

    def write(self, name: Name, data: bytes, *, durable: bool = True) -> Path | None:
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
        for folder in reversed(list(path.parents)[: len(name.path)]):
            make_folder(folder)
        write_atomically(path, data, self._scratch, durable=durable)
        _note(path, data)
        if self._listed is not None:
            for below in (path, *list(path.parents)[:3]):
                self._listed.setdefault(below.parent, {})[below.name.lower()] = below.name
        return None if durable else path

    def remove(self, name: Name) -> bool:
        """Remove the link and the folders that it leaves empty; True when it was there."""
        try:
            path = self._find(name)
            path.unlink()
        except (FileNotFoundError, NotCached):
            return False
        with contextlib.suppress(OSError):
            for parent in list(path.parents)[:3]:
                parent.rmdir()
        return True

    def __iter__(self) -> Iterator[Name]:
        """Every link, in order; files whose path is no name are passed over."""
        for path in sorted(self.root.glob("*/*/*/*")):
            with contextlib.suppress(InvalidName, NotCached):
                self._check(path)
                yield Name.from_path(*path.relative_to(self.root).parts)

    def _find(self, name: Name) -> Path:
        """The path of `name`, in the case in which it exists.

        Raises:
            NotCached: a symbolic link, which could lead out of the cache, takes the place of a folder.
        """
        path = self._locate(name)
        self._check(path)
        return path

    def _check(self, path: Path) -> None:
        for folder in path.parents:
            if folder == self.root:
                break
            if folder.is_symlink():
                raise NotCached(f"{folder}: a symbolic link in the cache, which is not followed")

    def _locate(self, name: Name) -> Path:
        """The path of `name`, in the case in which it exists."""
        path = self.root
        for part in name.path:
            exact = path / part
            path = exact if os.path.lexists(exact) else path / self._entries(path).get(part.lower(), part)
        return path

    def _entries(self, folder: Path) -> dict[str, str]:
        """What is in `folder`: lower-case to actual, of several the first in order."""
        if self._listed is not None and folder in self._listed:
            return self._listed[folder]
        entries = {}
        with contextlib.suppress(OSError):
            entries = {entry.lower(): entry for entry in sorted(os.listdir(folder), reverse=True)}
        if self._listed is not None:
            self._listed[folder] = entries
        return entries


def _note(path: Path, data: bytes) -> None:
    """Note what was written, where the disk can."""
    digest = str(Digest.of(data)).encode()
    with contextlib.suppress(OSError):
        if _NOTED not in os.listxattr(path, follow_symlinks=False) or (
            os.getxattr(path, _NOTED, follow_symlinks=False) != digest
        ):
            os.setxattr(path, _NOTED, digest, follow_symlinks=False)
