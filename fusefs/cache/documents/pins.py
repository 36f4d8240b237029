"""Pins: models of which nothing is evicted, `pins/<host>/<namespace>/<model>/<tag>`, each a copy of the manifest."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fusefs.artifacts.manifest import Manifest
from fusefs.cache.documents.links import Links
from fusefs.errors import FusefsError
from fusefs.system.steps import step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.cache.documents.tables import Tables
    from fusefs.system.spot import Where
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name


class Pins:
    """Blocking; several processes may use one directory at once.

    Args:
        root: the folder of pins.
        links: the manifests that the names have now.
        scratch: holds files on their way.
        tables: know what was made of compressed layers.
    """

    def __init__(self, root: Where, links: Links, scratch: Where, tables: Tables) -> None:
        self._tables = tables
        self._pins = Links(root, scratch)
        self._links = links

    def add(self, name: Name, manifest: bytes) -> None:
        """Pin `name`, which has `manifest` now.

        Raises:
            OSError: the disk does not take it.
        """
        with step("name pinned"):
            self._pins.write(name, manifest)

    def remove(self, name: Name) -> bool:
        """Unpin `name`; True when it was pinned."""
        return self._pins.remove(name)

    def __iter__(self) -> Iterator[Name]:
        """Every pinned name, in order."""
        return iter(self._pins)

    def manifest(self, name: Name) -> Manifest:
        """What the pinned `name` stands for: the manifest that it has now, or without one the one that it had.

        Raises:
            FusefsError: it is not pinned, or neither can be read.
        """
        with contextlib.suppress(FusefsError):
            return Manifest.parse(self._links.read(name))
        return Manifest.parse(self._pins.read(name))

    def digests(self) -> frozenset[Digest]:
        """Every blob, manifests included, of the pinned models; what is no manifest pins nothing.

        Raises:
            OSError: the pins cannot be listed, so that nobody can say what must stay.
        """
        found: set[Digest] = set()
        for name in self._pins:
            with contextlib.suppress(FusefsError, OSError):
                manifest = self.manifest(name)
                found.add(manifest.digest)
                found.update(blob.digest for blob in self._tables.with_made(manifest))
        return frozenset(found)
