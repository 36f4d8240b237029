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

    def write(self, name: Name, data: bytes) -> None:
        """Point `name` at `data`; the same content again changes nothing.

        Raises:
            OSError: the disk does not take it.
        """
        path = self._find(name)
        with contextlib.suppress(OSError):
            if path.read_bytes() == data:
                return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data, self._scratch, durable=True)

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
            if not os.path.lexists(exact):
                with contextlib.suppress(OSError):
                    exact = next((path / e for e in sorted(os.listdir(path)) if e.lower() == part.lower()), exact)
            path = exact
        return path
