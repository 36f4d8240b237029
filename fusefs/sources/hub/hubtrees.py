"""HubTrees: which files the repositories have that a Source was asked for, out of their documents."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusefs.artifacts.hubtree import HubTree
from fusefs.errors import InvalidManifest

if TYPE_CHECKING:
    from fusefs.artifacts.hubtree import HubFile
    from fusefs.values.chunks import Blob
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name


@dataclass(frozen=True, slots=True)
class KnownTree:
    """One tree, and its files by what people and readers have of them.

    Attributes:
        tree: of one commit.
        by_blob: of several files with the same content the first.
        by_path: all of them.
    """

    tree: HubTree
    by_blob: dict[Blob, HubFile] = field(default_factory=dict)
    by_path: dict[str, HubFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for file in self.tree.files:
            self.by_blob.setdefault(file.blob, file)
            self.by_path[file.path] = file


class HubTrees:
    """Thread-safe.  A document is read when it is needed: it may name 65,536 files."""

    def __init__(self) -> None:
        self._documents: dict[Name, tuple[Digest, bytes]] = {}
        self._known: dict[Digest, KnownTree] = {}
        self._lock = threading.Lock()

    def learn(self, name: Name, digest: Digest, document: bytes) -> None:
        """The document that a name has from now on, and its digest."""
        with self._lock:
            self._documents[name] = self._documents[name.pinned(digest)] = digest, document

    def get(self, name: Name) -> KnownTree | None:
        """The tree of a name, with or without the digest of the document; None where none was learned."""
        with self._lock:
            digest, document = self._documents.get(name, (None, b""))
            if digest is None:
                return None
            if digest not in self._known:
                try:
                    self._known[digest] = KnownTree(HubTree.parse(document))
                except InvalidManifest:  # out of a cache, and none of ours
                    return None
            return self._known[digest]
