"""NamedBlobs: blobs, and the manifests that name them.

`manifests/<host>/<namespace>/<model>/<tag>`, together with `blobs/`, is an OLLAMA_MODELS store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.cache.blob.blobs import BlobStore
from fusefs.cache.documents.links import Links
from fusefs.system.files import (
    disk_errors,
    reader_of,
)
from fusefs.values.chunkpack import MAX_PACKED_SIZE
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.cache.blob.room import Room
    from fusefs.cache.memory.budget import Memory
    from fusefs.system.spot import Held
    from fusefs.values.names import Name


class NamedBlobs(BlobStore):
    """Blocking; thread-safe.

    Attributes:
        links: the manifests by name.
    """

    def __init__(self, root: Path, held: Held, memory: Memory, room: Room) -> None:
        super().__init__(root, held, memory, room)
        self.links = Links(held / "manifests", held / "partial")

    # Names

    def link(self, name: Name, digest: Digest) -> None:
        """Let `name` stand for the manifest `digest`, which must be a blob of the cache.

        Raises:
            NotCached: it is not; nothing has changed.
        """
        data = self.read(digest, MAX_PACKED_SIZE)
        with disk_errors(self.root / "manifests"):
            self.links.write(name, data)

    def unlink(self, name: Name) -> bool:
        """Forget `name`; True when it was there."""
        with disk_errors(self.root / "manifests"):
            return self.links.remove(name)

    def resolve(self, text: str) -> Digest:
        """The manifest's digest for `host/namespace/model:tag`, `name@digest` or `@digest`.

        A digest in the text is taken without looking.  A manifest file that somebody wrote by hand becomes a blob.

        Raises:
            InvalidName, InvalidDigest: not one of these forms.
            NotCached: no such link.
        """
        name, at, digest = text.partition("@")
        parsed = self.links.parse(name) if name or not at else None
        if at:
            return Digest.parse(digest)
        assert parsed is not None
        data = self.links.read(parsed)
        found = Digest.of(data)
        self.put(found, reader_of(data), len(data))
        return found
