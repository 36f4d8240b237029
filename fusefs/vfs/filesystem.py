"""FileSystem: what a mount answers, without FUSE types.  Raises `fusefs.errors` only.

What answers of metadata is plain `def` and touches no file (P6).  Before it is asked, `look` and its like have threads
look into the cache; they wait for a moment at most, and a disk that hangs keeps nobody from being answered.

A file handle is the inode number and the number of wrong chunk lists by which the file was served before, so there is
no table of handles to keep: those that were opened before a lie came out are of another version, and have errors from
then on.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

from fusefs.errors import FusefsError, NoSuchEntry, NotALink, ReadOnly
from fusefs.values import metrics
from fusefs.values.voucher import BOUND
from fusefs.vfs.answer import Answered, check_version, check_whole
from fusefs.vfs.attributes import CHANGING, FILE_MODE, FOLDER_MODE, FRAGMENT_SIZE, UNCHANGING, Attributes, Statistics
from fusefs.vfs.reads import Reads
from fusefs.vfs.tree import INODE_BITS, FileNode, FolderNode, Node, Tree
from fusefs.vfs.xattrs import names_of, value_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from fusefs.fetch.backings import Lent
    from fusefs.values.chunks import Blob
    from fusefs.values.counters import Counters
    from fusefs.values.digest import Digest
    from fusefs.values.snapshot import Slice
    from fusefs.vfs.answer import Send
    from fusefs.vfs.mountedblob import MountedBlob

log = logging.getLogger(__name__)

_DOTS = 2
"""Entries of a folder before the first one that is there: `.` and `..`."""

_LOOKED_AT = 256
"""Entries of a folder that are looked at in one go: more than the kernel asks for at a time."""

_LIES = 1 << INODE_BITS
"""What a handle counts lies in, above the inode number."""


async def _know_all(_blobs: Sequence[Blob]) -> None:
    """There is no cache to look into."""


class FileSystem:
    """A read-only file system over a `Tree`.

    Attributes:
        tree: names and inodes.
        last_error: what the last failed read said, with the path; None as long as none failed.
        reads: those that are not answered yet.
        changing: seconds for which attributes of a file that is still arriving are valid.
        uid: owner of everything: who mounted.
        gid: group of everything.
    """

    def __init__(
        self,
        tree: Tree,
        open_blob: Callable[[Blob], MountedBlob],
        counters: Counters,
        *,
        look: Callable[[Sequence[Blob]], Awaitable[None]] = _know_all,
        changing: float = CHANGING,
    ) -> None:
        """`open_blob` is called once for each distinct blob that somebody looks at; it must not block.

        `look` is told of blobs that somebody is about to be told of, and ends soon.
        """
        self.tree = tree
        self.last_error: str | None = None
        self.reads = Reads()
        self.changing = changing
        self.uid, self.gid = os.getuid(), os.getgid()
        self._open_blob = open_blob
        self._look = look
        self._blobs: dict[Digest, MountedBlob] = {}
        self._counters = counters
        self._failing: dict[str, int] = {}

    def blob_file(self, blob: Blob) -> MountedBlob:
        """The one MountedBlob of `blob`."""
        found = self._blobs.get(blob.digest)
        if found is None:
            found = self._blobs[blob.digest] = self._open_blob(blob)
        return found

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
        blob_file = self.blob_file(node.content.blob)
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
        return self.blob_file(content.blob).presence(cells, content.off, content.size)

    def proof(self, node: FileNode) -> str:
        """Who stands behind the chunk list by which a file is served."""
        return str(BOUND) if isinstance(node.content, bytes) else self.blob_file(node.content.blob).proof

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

    def open(self, inode: int, flags: int) -> int:
        """Open a file for reading; gives the handle.

        Raises:
            NoSuchEntry, IsAFolder.
            ReadOnly: `flags` ask for more than reading.
        """
        node = self.tree.file(inode)
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            raise ReadOnly(f"/{node.path}: the mount is read-only")
        if isinstance(node.content, bytes):
            return inode
        blob_file = self.blob_file(node.content.blob)
        blob_file.open()
        return inode + blob_file.lies * _LIES

    async def backing(self, inode: int) -> Lent | None:
        """The file that the kernel may read in place of `read`, for the caller to close; None when there is none now.

        Raises:
            NoSuchEntry, IsAFolder.
        """
        content = self.tree.file(inode).content
        if isinstance(content, bytes) or not content.is_whole or not content.size:
            return None
        return await self.blob_file(content.blob).backing()

    def inodes_of(self, blob: Blob) -> list[int]:
        """Every file that shows bytes of `blob`."""
        return [
            node.inode for node in self.tree.files if not isinstance(node.content, bytes) and node.content.blob == blob
        ]

    def is_sealed(self, inode: int) -> bool:
        """Whether a file can be read without the network for ever.

        Raises:
            NoSuchEntry, IsAFolder.
        """
        return self.presence(self.tree.file(inode))[1] == "sealed"

    async def is_read_in_order(self, inode: int) -> bool:
        """Whether there is evidence that who reads a file goes through it in long pieces; raises as `is_sealed`."""
        content = self.tree.file(inode).content
        return not isinstance(content, bytes) and await self.blob_file(content.blob).is_read_in_order()

    def release(self, handle: int) -> None:
        """Give a handle back."""
        node = self.tree.file(handle % _LIES)
        if not isinstance(node.content, bytes):
            self.blob_file(node.content.blob).release()

    async def read(self, handle: int, off: int, size: int) -> bytes | bytearray | memoryview:
        """The bytes [off, off+size), clipped to the end of the file: all of them, or an error (P2).

        Raises:
            FusefsError: they could not be had, or not be proved.
        """
        lies, inode = divmod(handle, _LIES)
        node = self.tree.file(inode)
        wanted = max(0, min(off + size, node.size) - off)
        if isinstance(node.content, bytes):
            data: bytes | bytearray | memoryview = node.content[off : off + wanted]
        elif wanted == 0:
            data = b""
        else:
            data = await self._read_slice(node, node.content, lies, off, wanted)
        self._counters.add(metrics.BYTES_SERVED, wanted)
        return data

    def answer(self, handle: int, off: int, size: int, buffer: memoryview, send: Send) -> Answered:
        """Answer a read as `read` would, if that needs no waiting: give `send` the bytes.  For any thread.

        Args:
            handle: as for `read`.
            off: first byte.
            size: in bytes.
            buffer: at least `size` bytes for an answer, the caller's.
            send: is called once, or not at all.
        """
        lies, inode = divmod(handle, _LIES)
        try:
            node = self.tree.file(inode)
        except FusefsError:
            return Answered.ELSEWHERE
        wanted = max(0, min(off + size, node.size) - off)
        content = node.content
        if isinstance(content, bytes):
            send(content[off : off + wanted])
        elif wanted == 0:
            send(b"")
        elif node.path in self._failing or (blob_file := self._blobs.get(content.blob.digest)) is None:
            return Answered.ELSEWHERE  # that it can be read again has to be said
        else:
            outcome = blob_file.answer(content.off + off, wanted, lies, buffer, send)
            if outcome is not Answered.SENT:
                return outcome
        self._counters.add(metrics.BYTES_SERVED, wanted)
        return Answered.SENT

    async def arrive(self, handle: int, off: int, size: int) -> None:
        """Wait until the bytes of a read are here, where `answer` said that they are ABSENT.

        Raises:
            FusefsError: they could not be had, or not be proved.
        """
        lies, inode = divmod(handle, _LIES)
        node = self.tree.file(inode)
        wanted = max(0, min(off + size, node.size) - off)
        if not wanted or isinstance(node.content, bytes):
            return
        blob_file = self.blob_file(node.content.blob)
        try:
            with self.reads.going_on(node.path, off, wanted):
                await blob_file.arrive(node.content.off + off, wanted)
                check_version(blob_file.lies, lies)
        except Exception as exc:
            self._failed(node, exc)
            raise

    async def _read_slice(
        self, node: FileNode, content: Slice, lies: int, off: int, size: int
    ) -> bytes | bytearray | memoryview:
        blob_file = self.blob_file(content.blob)
        try:
            with self.reads.going_on(node.path, off, size):
                data = await blob_file.read(content.off + off, size)
                # No await from here to the reply: `data` is good until the next read alone.
                check_whole(data, off, size)
                check_version(blob_file.lies, lies)
        except Exception as exc:
            self._failed(node, exc)
            raise
        if self._failing and (failed := self._failing.pop(node.path, 0)):
            log.info("%s can be read again; reads that failed: %d", node.path, failed)
        return data

    def refused(self, inode: int, error: FusefsError) -> None:
        """A file could not be opened for what its bytes have become; say so."""
        self._note(f"{self.tree.file(inode).path}: {error}")

    def _failed(self, node: FileNode, exc: Exception) -> None:
        self._failing[node.path] = self._failing.get(node.path, 0) + 1
        self._note(f"{node.path}: {exc}" if isinstance(exc, FusefsError) else f"{node.path}: {exc!r}")

    def _note(self, message: str) -> None:
        self._counters.add(metrics.READ_ERRORS)
        # Hundreds of readers may wait for one chunk: they all fail with one message, which is worth one line.
        if message != self.last_error:
            log.warning("A read failed: %s", message)
        self.last_error = message

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
