"""Backing: the sealed file of a blob, held for a kernel that reads it without asking us (FUSE passthrough).

What such a reader sees is the file as it is: a hole would be zeros to it, a repair in place another version.  So nobody
changes a byte of the file as long as it may read.  Three things see to that, and each covers what the others cannot:

    `Lock.OPEN`, shared     while a passthrough handle is open in the mount: the blob is in use, and nothing of it goes.
    a write lease           (`fusefs.system.leases`) whoever wants to punch a hole or to repair in place has to get one.
                            The kernel grants none while it has the file open itself: for a handle of a daemon that was
                            killed, whose locks are gone, and for mapped pages of a file that was closed.
    `native` in the map     the file was given to a kernel in this boot.  Of a file that several of our processes have
                            open a lease tells nothing, and then a native one is left as it is.

Unlinking the file harms no reader; it is not done to a native one all the same, as it would free nothing.

The order here, under `Lock.CHANGE`, under which everybody acts who would change the file: look whether all is proved in
this boot, open it, set `native`.
"""

from __future__ import annotations

import contextlib
import enum
import mmap
import os
import stat
import time
from typing import TYPE_CHECKING

from fusefs.cache.blob.mapfile import PRESENT, Lock, chunk_lock, condemned, note_use, open_locked, peek
from fusefs.cache.blob.native import is_native, set_native
from fusefs.system import locks
from fusefs.system.leases import end_lease, try_lease
from fusefs.system.spot import open_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.cache.blob.chunker import Chunker
    from fusefs.cache.blob.chunkmap import ChunkMap
    from fusefs.cache.place import HeldPlace
    from fusefs.values.chunks import Blob


class Backing:
    """The sealed file of one blob, in use until `close`.

    Attributes:
        fd: of the file, for reading; -1 once the kernel has it (`handed_over`).
    """

    def __init__(self, fd: int, map_fd: int) -> None:
        """Take both over; `map_fd` holds `Lock.OPEN`."""
        self.fd = fd
        self._map_fd = map_fd
        self._view = mmap.mmap(map_fd, 0, prot=mmap.PROT_READ)
        self._states = slice(chunk_lock(0), len(self._view))
        self._proved = bytes([PRESENT]) * (self._states.stop - self._states.start)

    @property
    def right(self) -> bool:
        """Whether nobody has found a byte of it rotten since."""
        return self._view[self._states] == self._proved

    def handed_over(self) -> None:
        """The kernel has the file open itself by now."""
        fd, self.fd = self.fd, -1
        os.close(fd)

    def close(self) -> None:
        """It is not in use by us any more.  Idempotent."""
        if self._map_fd >= 0:
            with contextlib.suppress(OSError):
                note_use(self._map_fd, int(time.time()))
            self._view.close()
            os.close(self._map_fd)
            self._map_fd = -1
        if self.fd >= 0:
            self.handed_over()


def take(place: HeldPlace, blob: Blob) -> Backing | None:
    """The sealed file of a blob all of which was proved in this boot; None when it is not.  Blocking, but short.

    Raises:
        OSError: its files cannot be used so; what is here can be read as ever.
    """
    map_fd = open_locked(place.map)
    try:
        backing = _taken(place, blob, map_fd)
        if backing is not None:
            locks.unlock(map_fd, Lock.CHANGE)
            map_fd = -1
        return backing
    finally:
        if map_fd >= 0:
            os.close(map_fd)


def _taken(place: HeldPlace, blob: Blob, map_fd: int) -> Backing | None:
    if condemned(map_fd) or set(peek(place.map, blob)) != {PRESENT}:
        return None
    try:
        fd = open_at(place.sealed, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size != blob.size:
            return None
        locks.try_lock(map_fd, Lock.OPEN, shared=True)  # nobody evicts now: that takes Lock.CHANGE
        set_native(map_fd, native=True)
        note_use(map_fd, int(time.time()))
        taken = Backing(fd, map_fd)
        fd = -1
        return taken
    finally:
        if fd >= 0:
            os.close(fd)


class Repair(enum.Enum):
    """What may be done about a chunk of a sealed file that has rotten."""

    IN_PLACE = enum.auto()
    IN_A_COPY = enum.auto()  # others have the file open, and keep what they have
    NOT_NOW = enum.auto()  # and some of them are ours: they would not notice that there is a copy


def repair_of(chunker: Chunker) -> Repair:
    """How the sealed file may be repaired.  The caller holds `Lock.CHANGE`."""
    if chunker.map.fd < 0:
        return Repair.NOT_NOW  # without a map on disk there are no locks
    with alone(chunker.map) as is_alone:
        if not is_alone and is_native(chunker.map.fd):
            return Repair.NOT_NOW
        if os.fstat(chunker.fd).st_nlink > 1:
            return Repair.IN_A_COPY  # somebody else's, too (`cp -al`)
        if not is_alone:
            return Repair.IN_PLACE
        if not try_lease(chunker.fd):
            return Repair.IN_A_COPY
        end_lease(chunker.fd)  # who wants to hand the file to a kernel waits for Lock.CHANGE
        return Repair.IN_PLACE


@contextlib.contextmanager
def alone(chunk_map: ChunkMap) -> Iterator[bool]:
    """Whether nobody else has the blob open; while this lasts nobody will.  Only under `Lock.CHANGE`, and short."""
    mine = chunk_map.fd >= 0 and locks.try_lock(chunk_map.fd, Lock.OPEN)
    try:
        yield mine
    finally:
        if mine:
            locks.try_lock(chunk_map.fd, Lock.OPEN, shared=True)


def is_read_past_us(place: HeldPlace, map_fd: int) -> bool:
    """Whether a kernel may still read the sealed file for a program, though no process of ours has the blob open."""
    if not is_native(map_fd):
        return False
    with contextlib.suppress(OSError):
        fd = open_at(place.sealed, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if try_lease(fd):
                end_lease(fd)
                return False
            return True
        finally:
            os.close(fd)
    return False
