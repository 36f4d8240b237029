"""FuseOperations: translates between pyfuse3 and `FileSystem`, and is the one error boundary.

pyfuse3 answers FUSEError alone.  Any other exception of a handler ends the session, and the caller in read(2) hangs
until it is closed; so every handler passes `boundary`.

Not implemented on purpose, because pyfuse3's ENOSYS makes the kernel do the right thing and ask no more: `flush`,
`fsync`, `fsyncdir` (success), `poll` (always ready, as for any regular file).
"""

# ruff: noqa: ARG002  # the signatures are pyfuse3's

from __future__ import annotations

import errno
import logging
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pyfuse3
import trio

from fusefs.errors import FusefsError, NoSuchEntry
from fusefs.fuse.errnos import errno_of
from fusefs.fuse.natives import NATIVE, Natives
from fusefs.vfs.attributes import BLOCK_SIZE, FRAGMENT_SIZE, UNCHANGING
from fusefs.vfs.tree import INODE_BITS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from fusefs.fuse.kernel import Window
    from fusefs.vfs.attributes import Attributes
    from fusefs.vfs.filesystem import FileSystem

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")

_seen: set[tuple[str, type[Exception]]] = set()
"""Which bugs have been logged: one that every read meets must not fill the log file."""


def tell_bug(name: str, exc: Exception) -> None:
    """Log that `exc` came out of the handler `name`, once for each kind."""
    bug = name, type(exc)
    if bug not in _seen:
        _seen.add(bug)
        log.error("A bug in fusefs: %s failed; the program got EIO. Further ones are not shown.", name, exc_info=exc)


def boundary(handler: Callable[_P, Awaitable[_T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Let nothing but FUSEError out of `handler`, except what is not an Exception: trio's Cancelled must pass."""

    @wraps(handler)
    async def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await handler(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except FusefsError as exc:
            raise pyfuse3.FUSEError(errno_of(exc)) from exc
        except Exception as exc:
            tell_bug(handler.__name__, exc)
            raise pyfuse3.FUSEError(errno.EIO) from exc

    return guarded


def _entry(attributes: Attributes, uid: int, gid: int) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = attributes.inode
    entry.st_mode = attributes.mode
    entry.st_nlink = attributes.links
    entry.st_uid, entry.st_gid = uid, gid
    entry.st_size = attributes.size
    entry.st_blocks = attributes.blocks
    entry.st_blksize = BLOCK_SIZE
    entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = attributes.mtime_ns
    entry.attr_timeout = attributes.valid_for
    entry.entry_timeout = UNCHANGING
    return entry


class FuseOperations(pyfuse3.Operations):
    """The handlers of one mount.

    Attributes:
        window: chooses how far the kernel reads ahead in a file as it is opened; None before the limits are known.
        ready: set when the kernel has said hello; from then on its limits may be tuned.
        handles: files and folders that are open now, mapped ones too.
        natives: of which kind the handles of each file are.
        file_system: what is served.
    """

    supports_dot_lookup = True
    enable_writeback_cache = False

    def __init__(self, file_system: FileSystem, natives: Natives | None = None) -> None:
        super().__init__()
        self.ready = trio.Event()
        self.window: Window | None = None
        self.handles = 0
        self.natives = Natives("it was not asked for") if natives is None else natives
        self.file_system = self._fs = file_system
        self._metadata = file_system.metadata

    def init(self) -> None:
        """Called while INIT is answered, before any other task runs again."""
        self.ready.set()

    def _attributes(self, attributes: Attributes) -> pyfuse3.EntryAttributes:
        return _entry(attributes, self._metadata.uid, self._metadata.gid)

    @boundary
    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Find an entry; that there is none is told in a form that the kernel keeps."""
        await self._metadata.look_for(parent_inode, name)
        try:
            return self._attributes(self._metadata.lookup(parent_inode, name))
        except NoSuchEntry:
            missing = pyfuse3.EntryAttributes()
            missing.entry_timeout = UNCHANGING
            return missing

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Inodes live as long as the mount."""

    @boundary
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Attributes of an inode."""
        await self._metadata.look(inode)
        return self._attributes(self._metadata.getattr(inode))

    @boundary
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """Where a symbolic link into the cache leads to (`--sealed symlink`)."""
        return self._metadata.readlink(inode)

    @boundary
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open a file; its pages stay in the kernel, for content never changes."""
        await self._metadata.look(inode)
        in_order = self.window is not None and await self._fs.is_read_in_order(inode)
        handle = self._fs.open(inode, flags)
        try:
            if await self.natives.open(inode, partial(self._fs.backing, inode)):
                handle |= NATIVE
        except BaseException as exc:
            self._fs.release(handle)
            if isinstance(exc, FusefsError):
                self._fs.refused(inode, exc)
            raise
        self.handles += 1
        if self.window is not None:
            self.window.choose(sealed=self._fs.is_sealed(inode), in_order=in_order)
        # Never direct_io: it refuses MAP_SHARED, which safetensors and llama.cpp use.  O_DIRECT works without it.
        return pyfuse3.FileInfo(fh=handle, keep_cache=True)

    @boundary
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Bytes, or an errno; the one handler that may wait."""
        # No await from here to the reply: the answer may be a view into memory that the next read is answered from.
        # (pyfuse3 takes any buffer, though it says bytes.)
        return await self._fs.read(fh, off, size)  # type: ignore[return-value]

    @boundary
    async def arrive(self, fh: int, off: int, size: int) -> None:
        """Wait until the bytes of a read are here; no handler of pyfuse3's, but the wire's."""
        await self._fs.arrive(fh, off, size)

    @boundary
    async def release(self, fh: int) -> None:
        """The last descriptor of an open was closed."""
        self.handles -= 1
        self.natives.close(fh % (1 << INODE_BITS))
        self._fs.release(fh & ~NATIVE)

    @boundary
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """Open a folder."""
        folder = self._fs.tree.folder(inode).inode
        self.handles += 1
        return folder

    @boundary
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """List a folder with attributes, as far as the kernel's buffer goes."""
        await self._metadata.look_into(fh, start_id)
        for name, attributes, next_id in self._metadata.readdir(fh, start_id):
            if not pyfuse3.readdir_reply(token, name, self._attributes(attributes), next_id):
                break

    @boundary
    async def releasedir(self, fh: int) -> None:
        """A folder was closed."""
        self.handles -= 1

    @boundary
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """A full disk with exactly these files on it."""
        statistics = self._metadata.statfs()
        data = pyfuse3.StatvfsData()
        data.f_bsize, data.f_frsize = BLOCK_SIZE, FRAGMENT_SIZE
        data.f_blocks, data.f_files = statistics.blocks, statistics.files
        data.f_bfree = data.f_bavail = data.f_ffree = data.f_favail = 0
        data.f_namemax = 255
        return data

    @boundary
    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        """Asked only where the mount has no `default_permissions`."""
        return self._metadata.access(inode, mode)

    @boundary
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """The value of an extended attribute."""
        if name.startswith(b"user."):  # the kernel asks for others before every write, and they are nowhere
            await self._metadata.look(inode)
        return self._metadata.getxattr(inode, name.decode(errors="surrogateescape"))

    @boundary
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        """Names of the extended attributes."""
        return [name.encode() for name in self._metadata.listxattr(inode)]

    async def _refuse(self, *_args: Any, **_kwargs: Any) -> Any:
        raise pyfuse3.FUSEError(errno.EROFS)

    # The kernel stops all of these at a mount with `ro`; a remount without it must not find a hole.
    setattr = mknod = mkdir = unlink = rmdir = symlink = rename = link = create = write = _refuse
    setxattr = removexattr = _refuse
