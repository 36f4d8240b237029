"""Natives: of which kind the open handles of each inode are; all handles of an inode are of one kind at a time.

A file is opened *natively* when the kernel is given the sealed file behind it and reads that without asking us (FUSE
passthrough), else *ordinarily*.  The kernel refuses with EIO to open a file in one way while it is open in the other.

Why this table may decide.  An open counts here from before the kernel hears of it until its RELEASE has come, and the
kernel counts it from the reply to OPEN until before it sends RELEASE: where nothing counts here, nothing counts there.
Decisions about one inode are made one after the other, each with all earlier ones counted.

A native handle may close while its pages stay mapped.  Then it counts nowhere, and the file may be opened ordinarily;
what keeps the bytes under the mapping is the kernel's reference to the file (`fusefs.cache.blob.backing`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
from typing import TYPE_CHECKING, Protocol

import trio

from fusefs.errors import BlobQuarantined

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Take = Callable[[], Awaitable["BackingFile | None"]]
    """Gives the sealed file of an inode when it may be opened natively, for us to close."""


log = logging.getLogger(__name__)


class BackingFile(Protocol):
    """What `fusefs.fetch.backings` gives."""

    @property
    def fd(self) -> int:
        """Its descriptor, until it is handed over."""

    @property
    def right(self) -> bool:
        """Whether nobody has found a byte of it rotten since."""

    def handed_over(self) -> None:
        """The kernel has the file open itself by now."""

    def close(self) -> None:
        """It is not in use by us any more."""


class Kernel(Protocol):
    """What the kernel is told of such files (`fusefs.fuse.wire.device`)."""

    def open_backing(self, fd: int) -> int:
        """The id by which it has the file open from now on.

        Raises:
            OSError: it will not.
        """

    def close_backing(self, backing: int) -> None:
        """No handle will be opened by that id any more."""


NATIVE = 1 << 62
"""The bit of a file handle that says that it is a native one: far above what `FileSystem.open` uses."""

_FOPEN_PASSTHROUGH = 1 << 7  # linux/fuse.h

_FOR_ALL = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ELOOP, errno.ENOTTY})
"""Refusals that are of this mount and not of one file: nobody asks again."""


class _Native:
    """The file behind an inode that is open natively, and its id."""

    def __init__(self, file: BackingFile, backing: int) -> None:
        self.file = file
        self.backing = backing
        self.ended = False


class _Inode:
    """One that is open, or is being opened."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.asking = 0
        self.handles = 0
        self.native: _Native | None = None


class Natives:
    """Of one mount; on the event loop.

    Attributes:
        wanted: the kernel is to be asked for it.
        why_not: why no file is opened natively; empty when files are.
        opens: how often one was.
    """

    def __init__(self, unwanted: str = "") -> None:
        """Make an empty table; `unwanted` says why the kernel shall not even be asked."""
        self.wanted = not unwanted
        self.opens = 0
        self.why_not = unwanted or "it was not tried"
        self._kernel: Kernel | None = None
        self._inodes: dict[int, _Inode] = {}

    def __len__(self) -> int:
        """Inodes that are open, or are being opened."""
        return len(self._inodes)

    @property
    def native(self) -> int:
        """Inodes that are open natively."""
        return sum(found.native is not None for found in self._inodes.values())

    def unanswered(self, why_not: str) -> None:
        """The wire does not answer the kernel, and nobody else can ask for it."""
        if self.wanted:
            self.why_not = f"pyfuse3 alone answers the kernel: {why_not}"

    async def open(self, inode: int, take: Take) -> bool:
        """One more handle of an inode; True when it is a native one.

        Raises:
            BlobQuarantined: it is open natively, and its file has rotten since.
        """
        found = self._inodes.setdefault(inode, _Inode())
        found.asking += 1
        try:
            async with found.lock:
                if not found.handles:
                    found.native = await self._native(take)
                elif found.native is not None and not found.native.file.right:
                    # Who has it open reads what is on disk; more of that is no help to anybody.
                    raise BlobQuarantined("it has changed on disk; when all programs have closed it, open it again")
                found.handles += 1
                self.opens += found.native is not None
                return found.native is not None
        finally:
            found.asking -= 1
            self._look(inode, found)

    def close(self, inode: int) -> None:
        """RELEASE has come."""
        found = self._inodes[inode]
        found.handles -= 1
        if not found.handles and found.native is not None:
            native, found.native = found.native, None
            self._end(native)
        self._look(inode, found)

    def backing_of(self, inode: int) -> int:
        """By which id an inode that is open natively is; for any thread, as long as a handle counts."""
        native = self._inodes[inode].native
        assert native is not None
        return native.backing

    # For the threads of the wire (`fusefs.fuse.wire.handles`)

    def connected(self, device: Kernel, *, offered: bool) -> None:
        """From now on files may be opened natively, if the kernel has agreed to it in INIT."""
        self._kernel = device
        self.why_not = "" if offered else "the kernel cannot do it; Linux 6.9 and newer can"

    def opened(self, node: int, handle: int, flags: int) -> tuple[int, int]:
        """The flags of a reply to OPEN, and the backing id, 0 for none."""
        # Of all other flags the kernel takes none with this one, not even that pages may be kept: it keeps none.
        return (_FOPEN_PASSTHROUGH, self.backing_of(node)) if handle & NATIVE else (flags, 0)

    def released(self, node: int, handle: int) -> None:
        """Nothing: `close` is told."""

    def end(self) -> None:
        """The mount has ended: nothing is in use by us any more; what the kernel has open it keeps."""
        self._kernel, self.why_not = None, "the mount has ended"
        for found in self._inodes.values():
            if found.native is not None:
                self._end(found.native)

    def _look(self, inode: int, found: _Inode) -> None:
        if not found.handles and not found.asking:
            self._inodes.pop(inode, None)

    async def _native(self, take: Take) -> _Native | None:
        if self.why_not:
            return None
        file = await take()
        if file is None:
            return None
        try:
            if self._kernel is not None:
                backing = self._kernel.open_backing(file.fd)
                file.handed_over()
                return _Native(file, backing)
        except OSError as exc:
            if exc.errno in _FOR_ALL:
                self.why_not = _reason(exc)
                log.info("No file is opened natively: %s", self.why_not)
        file.close()
        return None

    def _end(self, native: _Native) -> None:
        if not native.ended:
            native.ended = True
            native.file.close()
            if self._kernel is not None:
                with contextlib.suppress(OSError):  # the mount is gone, and the id with it
                    self._kernel.close_backing(native.backing)


def _reason(exc: OSError) -> str:
    if exc.errno == errno.ELOOP:
        return "the cache lies on a stacked file system (overlayfs, ecryptfs); put it on another with --cache-dir"
    if exc.errno == errno.EPERM:
        return "it takes root's cap_sys_admin in the machine's own user namespace"
    return f"the kernel refuses it: {exc.strerror}"
