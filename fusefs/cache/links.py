"""Links: manifests by model name, `manifests/<host>/<namespace>/<model>/<tag>`, each a copy of the manifest.

Names compare case-insensitively and keep the case in which they were written first.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from fusefs.cache.files import write_atomically
from fusefs.errors import InvalidName, NotCached
from fusefs.names import Name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
        path = self._find(name)
        try:
            return path.read_bytes()
        except OSError as exc:
            raise NotCached(f"{name}: not in the cache") from exc

    def mtime(self, name: Name) -> float | None:
        """When the link was written first, in seconds since 1970."""
        with contextlib.suppress(OSError):
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
        path = self._find(name)
        try:
            if path.read_bytes() == data:
                return None
            durable = True
        except OSError:
            pass  # there is none
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data, self._scratch, durable=durable)
        if self._listed is not None:
            for below in (path, *list(path.parents)[:3]):
                self._listed.setdefault(below.parent, {})[below.name.lower()] = below.name
        return None if durable else path

    def remove(self, name: Name) -> bool:
        """Remove the link and the folders that it leaves empty; True when it was there."""
        path = self._find(name)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        with contextlib.suppress(OSError):
            for parent in list(path.parents)[:3]:
                parent.rmdir()
        return True

    def __iter__(self) -> Iterator[Name]:
        """Every link, in order; files whose path is no name are passed over."""
        for path in sorted(self.root.glob("*/*/*/*")):
            with contextlib.suppress(InvalidName):
                yield Name.from_path(*path.relative_to(self.root).parts)

    def _find(self, name: Name) -> Path:
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
