"""Metadata: what a mount says of its files and folders: names, attributes, what of them is present.

All of it is plain `def` and touches no file (P6).  Before it is asked, `look` and its like have threads look into the
cache; they wait for a moment at most, and a disk that hangs keeps nobody from being answered.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from fusefs.errors import NoSuchEntry, NotALink, ReadOnly
from fusefs.values.voucher import BOUND
from fusefs.vfs.attributes import CHANGING, FILE_MODE, FOLDER_MODE, FRAGMENT_SIZE, UNCHANGING, Attributes, Statistics
from fusefs.vfs.tree import FileNode, FolderNode, Node, Tree
from fusefs.vfs.xattrs import names_of, value_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from fusefs.values.chunks import Blob
    from fusefs.vfs.mountedblob import MountedBlob

_DOTS = 2
"""Entries of a folder before the first one that is there: `.` and `..`."""

_LOOKED_AT = 256
"""Entries of a folder that are looked at in one go: more than the kernel asks for at a time."""


async def know_all(_blobs: Sequence[Blob]) -> None:
    """There is no cache to look into."""


class Metadata:
    """What is said of a `Tree`, and of how much of it is here.

    Attributes:
        tree: names and inodes.
        changing: seconds for which attributes of a file that is still arriving are valid.
        uid: owner of everything: who mounted.
        gid: group of everything.
    """

    def __init__(
        self,
        tree: Tree,
        mounted: Callable[[Blob], MountedBlob],
        *,
        look: Callable[[Sequence[Blob]], Awaitable[None]] = know_all,
        changing: float = CHANGING,
    ) -> None:
        """`mounted` gives the one MountedBlob of a blob; `look` is told of blobs that are about to be asked about."""
        self.tree = tree
        self.changing = changing
        self.uid, self.gid = os.getuid(), os.getgid()
        self._mounted = mounted
        self._look = look

    async def look(self, inode: int) -> None:
        """Have it known how it is now with a file or folder that is about to be asked for.

        Raises:
            NoSuchEntry.
        """
        await self.look_at([self.tree.node(inode)])

    async def look_for(self, parent: int, name: bytes) -> None:
        """The same of the entry `name` of a folder, if there is one.

        Raises:
            NoSuchEntry, NotAFolder.
        """
        child = self.tree.folder(parent).children.get(name)
        if child is not None:
            await self.look_at([child])

    async def look_into(self, inode: int, off: int) -> None:
        """The same of the next entries of a folder from offset `off` on (`readdir`).

        Raises:
            NoSuchEntry, NotAFolder.
        """
        first = max(0, off - _DOTS)
        await self.look_at(self.tree.folder(inode).order[first : first + _LOOKED_AT])

    async def look_at(self, nodes: Iterable[Node]) -> None:
        """The same of several."""
        files = [node for node in nodes if isinstance(node, FileNode) and not node.target]
        await self._look([node.content.blob for node in files if not isinstance(node.content, bytes)])

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """The entry `name` of a folder; `.` and `..` too.

        Raises:
            NoSuchEntry, NotAFolder.
        """
        folder = self.tree.folder(parent)
        if name in (b".", b".."):
            return self.attributes(folder if name == b"." else self.tree.node(folder.parent))
        child = folder.children.get(name)
        if child is None:
            raise NoSuchEntry(f"no {os.fsdecode(name)!r} in /{folder.path}")
        return self.attributes(child)

    def getattr(self, inode: int) -> Attributes:
        """Attributes by number.

        Raises:
            NoSuchEntry.
        """
        return self.attributes(self.tree.node(inode))

    def attributes(self, node: Node) -> Attributes:
        """Attributes of a node."""
        if isinstance(node, FolderNode):
            return Attributes(node.inode, stat.S_IFDIR | FOLDER_MODE, 2 + node.folders, 0, 0, node.mtime_ns, UNCHANGING)
        assert isinstance(node, FileNode)
        if node.target:
            return Attributes(node.inode, stat.S_IFLNK | 0o777, 1, len(node.target), 0, node.mtime_ns, UNCHANGING)
        present, state = self.presence(node)
        valid_for = UNCHANGING if state == "sealed" else self.changing
        blocks = -(-present // 512)
        return Attributes(node.inode, stat.S_IFREG | FILE_MODE, 1, node.size, blocks, node.mtime_ns, valid_for)

    def presence(self, node: FileNode) -> tuple[int, str]:
        """Bytes present, and the state."""
        if isinstance(node.content, bytes):
            return node.size, "sealed"
        blob_file = self._mounted(node.content.blob)
        state = blob_file.state
        if state in ("absent", "sealed"):  # each look costs system calls
            return (node.size if state == "sealed" else 0), state
        if node.content.is_whole:
            return blob_file.present, state
        present = round(self.presence_by_part(node, 1)[0] * node.size)
        return present, state if present or state != "partial" else "absent"

    def presence_by_part(self, node: FileNode, cells: int) -> list[float]:
        """For each of `cells` equal parts of a file, the fraction that is present."""
        content = node.content
        if isinstance(content, bytes) or not node.size:
            return [1.0] * cells
        return self._mounted(content.blob).presence(cells, content.off, content.size)

    def proof(self, node: FileNode) -> str:
        """Who stands behind the chunk list by which a file is served."""
        return str(BOUND) if isinstance(node.content, bytes) else self._mounted(node.content.blob).proof

    def readlink(self, inode: int) -> bytes:
        """Where a symbolic link leads to.

        Raises:
            NoSuchEntry, IsAFolder.
            NotALink: it is a plain file.
        """
        node = self.tree.file(inode)
        if not node.target:
            raise NotALink(f"/{node.path} is not a symbolic link")
        return node.target

    def readdir(self, inode: int, off: int) -> Iterator[tuple[bytes, Attributes, int]]:
        """Entries from offset `off` on: name, attributes, and the offset behind the entry.

        Offsets are positions in an order that never changes, `.` at 0 and `..` at 1.

        Raises:
            NoSuchEntry, NotAFolder.
        """
        folder = self.tree.folder(inode)
        dots = ((b".", folder), (b"..", self.tree.node(folder.parent)))
        for position in range(off, len(dots) + len(folder.order)):
            if position < len(dots):
                name, node = dots[position]
            else:
                node = folder.order[position - len(dots)]
                name = node.name
            yield name, self.attributes(node), position + 1

    def statfs(self) -> Statistics:
        """Sizes of everything together."""
        return Statistics(-(-self.tree.size // FRAGMENT_SIZE), len(self.tree))

    def access(self, inode: int, mode: int) -> bool:
        """Whether `mode` (of R_OK, W_OK, X_OK) is allowed: read everything, enter folders.

        Raises:
            NoSuchEntry.
            ReadOnly: W_OK was asked for.
        """
        node = self.tree.node(inode)
        if mode & os.W_OK:
            raise ReadOnly(f"/{node.path}: the mount is read-only")
        return isinstance(node, FolderNode) or not mode & os.X_OK

    def listxattr(self, inode: int) -> tuple[str, ...]:
        """Names of the extended attributes; a folder has none.

        Raises:
            NoSuchEntry.
        """
        return names_of(self.tree.node(inode))

    def getxattr(self, inode: int, name: str) -> bytes:
        """The value of an extended attribute, as text.

        Raises:
            NoSuchEntry, NoSuchAttribute.
            NoSuchNamespace: no file here has attributes of that kind.
        """
        return value_of(self.tree.node(inode), name, presence=self.presence, proof=self.proof)
