"""Tree: names to inodes, immutable once built.  Knows sizes and times, not what is present.

An inode number is a hash of the path, so that it is the same after a remount (P3); programs that compare numbers
(backup tools, `tail -F`, ld.so) see the same file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING

from fusefs.errors import IsAFolder, NoSuchEntry, NotAFolder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from fusefs.values.digest import Digest
    from fusefs.values.snapshot import File, Slice

ROOT_INODE = 1
"""FUSE_ROOT_ID."""

INODE_BITS = 52
"""Up to 2^53 a number passes unharmed through the doubles of JSON and JavaScript."""


@dataclass(slots=True, eq=False)
class Node:
    """A file or a folder.

    Attributes:
        inode: unique in the tree, below 2^52.
        parent: the inode of the folder that holds it; the root's is its own.
        path: from the root, components joined by `/`; empty for the root.
        mtime_ns: in nanoseconds; a folder's is that of the newest file below it.
    """

    inode: int
    parent: int
    path: str
    mtime_ns: int

    @property
    def name(self) -> bytes:
        """The last component."""
        return self.path.rpartition("/")[2].encode()


@dataclass(slots=True, eq=False)
class FileNode(Node):
    """A file: a part of a blob, or bytes that are in memory anyway.

    Attributes:
        content: a part of a blob, or the bytes themselves.
        target: where a symbolic link shown in its place leads to; empty for a plain file.
        shown_elsewhere: the link leads to another file of the mount, which has the content.
    """

    content: Slice | bytes
    target: bytes = b""
    shown_elsewhere: bool = False

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size


@dataclass(slots=True, eq=False)
class FolderNode(Node):
    """A folder.

    Attributes:
        children: by name.
        order: the children sorted by name; a position in it is an offset of readdir.
        folders: how many of the children are folders (each adds a link to this one).
    """

    children: dict[bytes, Node] = field(default_factory=dict)
    order: Sequence[Node] = ()
    folders: int = 0


class Tree:
    """All nodes of a mount.

    Attributes:
        root: the root folder.
        files: every file, sorted by path.
        size: bytes of all distinct contents together.
    """

    def __init__(self, files: Iterable[File], links: Mapping[Digest, Path] = MappingProxyType({})) -> None:
        """Build the tree from checked paths.

        Args:
            files: what is shown.
            links: blobs to show as symbolic links, and where to.

        Raises:
            NotAFolder: a file is also a folder; `fusefs.artifacts` lets none pass.
        """
        self._links = links
        self.root = FolderNode(ROOT_INODE, ROOT_INODE, "", 0)
        self._nodes: dict[int, Node] = {ROOT_INODE: self.root}
        self.files: list[FileNode] = []
        # Sorted, so that which of two colliding paths is moved on does not depend on the order they came in.
        for file in sorted(files, key=lambda file: file.path):
            self._add(file)
        for node in self._nodes.values():
            if isinstance(node, FolderNode):
                node.order = tuple(child for _, child in sorted(node.children.items()))
        blobs = {node.content.blob for node in self.files if not isinstance(node.content, bytes)}
        inline = sum(node.size for node in self.files if isinstance(node.content, bytes))
        self.size = sum(blob.size for blob in blobs) + inline

    def __len__(self) -> int:
        return len(self._nodes)

    def node(self, inode: int) -> Node:
        """The node of that number.

        Raises:
            NoSuchEntry: there is none.
        """
        node = self._nodes.get(inode)
        if node is None:
            raise NoSuchEntry(f"no inode {inode}")
        return node

    def file(self, inode: int) -> FileNode:
        """The file of that number.

        Raises:
            NoSuchEntry: there is none.
            IsAFolder: it is a folder.
        """
        node = self.node(inode)
        if not isinstance(node, FileNode):
            raise IsAFolder(f"/{node.path} is a folder")
        return node

    def folder(self, inode: int) -> FolderNode:
        """The folder of that number.

        Raises:
            NoSuchEntry: there is none.
            NotAFolder: it is a file.
        """
        node = self.node(inode)
        if not isinstance(node, FolderNode):
            raise NotAFolder(f"/{node.path} is not a folder")
        return node

    def _add(self, file: File) -> None:
        *folders, name = file.path.split("/")
        here = self.root
        here.mtime_ns = max(here.mtime_ns, file.mtime_ns)
        for folder in folders:
            here = self._folder_in(here, folder)
            here.mtime_ns = max(here.mtime_ns, file.mtime_ns)
        if name.encode() in here.children:
            raise NotAFolder(f"/{file.path} is there twice")
        content = file.content
        whole = not isinstance(content, bytes) and content.is_whole and content.blob
        target = self._links.get(whole.digest) if whole else None
        link = os.fsencode(target) if target else file.target.encode()
        elsewhere = bool(file.target)
        node = FileNode(self._number(file.path), here.inode, file.path, file.mtime_ns, content, link, elsewhere)
        here.children[name.encode()] = self._nodes[node.inode] = node
        self.files.append(node)

    def _folder_in(self, parent: FolderNode, name: str) -> FolderNode:
        found = parent.children.get(name.encode())
        if found is None:
            path = f"{parent.path}/{name}" if parent.path else name
            found = FolderNode(self._number(path), parent.inode, path, 0)
            parent.children[name.encode()] = self._nodes[found.inode] = found
            parent.folders += 1
        if not isinstance(found, FolderNode):
            raise NotAFolder(f"/{found.path} is not a folder")
        return found

    def _number(self, path: str) -> int:
        number = hash_of(path)
        while number <= ROOT_INODE or number in self._nodes:
            number = (number + 1) % (1 << INODE_BITS)
        return number


def hash_of(path: str) -> int:
    """A number below 2^INODE_BITS from `path` alone: the same in every process and version."""
    return int.from_bytes(blake2b(path.encode(), digest_size=8).digest(), "big") >> (64 - INODE_BITS)
