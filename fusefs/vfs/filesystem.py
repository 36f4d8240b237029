"""FileSystem: what a mount answers, without FUSE types.  Raises `fusefs.errors` only.

Names and attributes are said by its `metadata`; the rest of it is files that are open, and their bytes.

A file handle is the inode number and the number of wrong chunk lists by which the file was served before, so there is
no table of handles to keep: those that were opened before a lie came out are of another version, and have errors from
then on.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from fusefs.errors import FusefsError, ReadOnly
from fusefs.values import metrics
from fusefs.vfs.answer import Answered, check_version, check_whole
from fusefs.vfs.attributes import CHANGING
from fusefs.vfs.metadata import Metadata, know_all
from fusefs.vfs.reads import Reads
from fusefs.vfs.tree import INODE_BITS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fusefs.fetch.backings import Lent
    from fusefs.values.chunks import Blob
    from fusefs.values.counters import Counters
    from fusefs.values.digest import Digest
    from fusefs.values.snapshot import Slice
    from fusefs.vfs.answer import Send
    from fusefs.vfs.mountedblob import MountedBlob
    from fusefs.vfs.tree import FileNode, Tree

log = logging.getLogger(__name__)

_LIES = 1 << INODE_BITS
"""What a handle counts lies in, above the inode number."""


class FileSystem:
    """A read-only file system over a `Tree`.

    Attributes:
        tree: names and inodes.
        metadata: what is said of them.
        last_error: what the last failed read said, with the path; None as long as none failed.
        reads: those that are not answered yet.
    """

    def __init__(
        self,
        tree: Tree,
        open_blob: Callable[[Blob], MountedBlob],
        counters: Counters,
        *,
        look: Callable[[Sequence[Blob]], Awaitable[None]] = know_all,
        changing: float = CHANGING,
    ) -> None:
        """`open_blob` is called once for each distinct blob that somebody looks at; it must not block.

        `look` is told of blobs that somebody is about to be told of, and ends soon; `changing` is as in `Metadata`.
        """
        self.tree = tree
        self.metadata = Metadata(tree, self.blob_file, look=look, changing=changing)
        self.last_error: str | None = None
        self.reads = Reads()
        self._open_blob = open_blob
        self._blobs: dict[Digest, MountedBlob] = {}
        self._counters = counters
        self._failing: dict[str, int] = {}

    def blob_file(self, blob: Blob) -> MountedBlob:
        """The one MountedBlob of `blob`."""
        found = self._blobs.get(blob.digest)
        if found is None:
            found = self._blobs[blob.digest] = self._open_blob(blob)
        return found

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
        return self.metadata.presence(self.tree.file(inode))[1] == "sealed"

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
