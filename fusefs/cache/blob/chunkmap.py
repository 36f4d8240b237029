"""ChunkMap: which chunks of one blob are present, one byte a chunk, shared between processes.

The file is mapped, so that a mark made by any process is seen by all at once and survives kill -9.  It is never
synced on the read path: after a power cut the boot id differs, every mark becomes a claim, and the hash decides.
One byte a chunk, so that two processes never write the same byte.

The file itself: `fusefs.cache.blob.mapfile`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import threading
from typing import TYPE_CHECKING

from fusefs.cache.blob import mapfile
from fusefs.cache.blob.mapfile import (
    ABSENT,
    BOOT_AT,
    CLAIMED,
    CONDEMNED,
    CONDEMNED_AT,
    LIST_AT,
    MARKED,
    MARKED_UNLISTED,
    STATES_AT,
    USED,
    USED_AT,
    Lock,
    header_of,
)
from fusefs.cache.blob.presence import ranges_on_disk
from fusefs.system import locks
from fusefs.system.files import pwrite_all
from fusefs.system.steps import step
from fusefs.values.chunkpack import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.system.spot import Where
    from fusefs.values.chunks import Blob, ChunkList


class ChunkMap:
    """The states of all chunks, and the locks of one blob.

    Attributes:
        fd: of the file; -1 for a map that lives in memory because the disk takes none.
    """

    def __init__(self, fd: int, view: mmap.mmap, count: int) -> None:
        self.fd = fd
        self._view = view
        self._count = count
        self._threads = {lock: threading.Lock() for lock in Lock}

    @classmethod
    def in_memory(cls, chunks: ChunkList, state: int = ABSENT) -> ChunkMap:
        """A map with every chunk in `state`, which no other process sees and which dies with this one."""
        made = cls(-1, mmap.mmap(-1, STATES_AT + len(chunks)), len(chunks))
        made.mark_all(state)
        return made

    @classmethod
    def attach(cls, path: Where, fd: int, blob: Blob, chunks: ChunkList, *, otherwise: int, anew: bool) -> ChunkMap:
        """Take over the map file at `path`, open and locked (`open_locked`) as `fd`; it belongs to the map from here.

        A torn, foreign or empty file (or any, when `anew`: the data it spoke of is not there) is replaced by one with
        every chunk in the state `otherwise`; marks of an earlier boot become claims.

        Raises:
            OSError: the file cannot be written or has no room; `fd` is closed.
        """
        fd = mapfile.ready(path, fd, blob, chunks, otherwise=otherwise, anew=anew)
        try:
            return cls(fd, mmap.mmap(fd, STATES_AT + len(chunks), prot=mmap.PROT_READ), len(chunks))
        except BaseException:
            os.close(fd)
            raise

    def speaks_of(self, chunks: ChunkList) -> bool:
        """Whether its marks are by this list, and not by one that another process has bound it to since."""
        return self.fd < 0 or self._view[LIST_AT:BOOT_AT] == fingerprint(chunks)

    def rebind(self, blob: Blob, chunks: ChunkList) -> None:
        """Bind the map to another list of the same chunks (digests that were computed since)."""
        if self.fd >= 0:
            with step("map bound"):
                pwrite_all(self.fd, memoryview(header_of(blob, chunks))[:USED_AT], 0)

    @property
    def last_use(self) -> int:
        """When a byte of the blob was read last, in seconds since 1970, as far as it was noted; 0 when never."""
        return int(USED.unpack_from(self._view, USED_AT)[0])

    def note_use(self, seconds: int) -> None:
        """Remember when a byte of the blob was read last.

        Raises:
            OSError: as `mark`.
        """
        if self.fd >= 0:
            mapfile.note_use(self.fd, seconds)

    @property
    def condemned(self) -> bool:
        """Whether some process has found its list lying: nothing may be served by it any more."""
        return not self._view.closed and self._view[CONDEMNED_AT] == 1

    def condemn(self) -> None:
        """Tell every process that has the map open that its list lied.

        Raises:
            OSError: as `mark`.
        """
        self._write(CONDEMNED_AT, CONDEMNED)

    def close(self) -> None:
        """Drop the mapping, the file and every lock."""
        self._view.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __getitem__(self, index: int) -> int:
        return self._view[STATES_AT + index]

    def mark(self, index: int, state: int) -> None:
        """Set the state of chunk `index`.

        Raises:
            OSError: the disk does not take even one byte (it was given room, so: read-only, or broken).
        """
        with step("chunk marked"):
            self._write(STATES_AT + index, bytes([state]))

    def mark_all(self, state: int) -> None:
        """Set the state of every chunk."""
        with step("all marked"):
            self._write(STATES_AT, bytes([state]) * self._count)

    def _write(self, off: int, states: bytes) -> None:
        # pwrite and the mapping share their pages; unlike a store, pwrite answers a disk fault with an errno.
        if self.fd >= 0:
            pwrite_all(self.fd, memoryview(states), off)
        else:
            self._view[off : off + len(states)] = states

    def claim_absent(self) -> None:
        """Let the hash decide once more over chunks that were found rotten.

        Raises:
            OSError: as `mark`.
        """
        states = self.states()
        index = states.find(ABSENT)
        while index >= 0:
            self.mark(index, CLAIMED)
            index = states.find(ABSENT, index + 1)

    def claim_present(self, *, arrived_too: bool) -> None:
        """Let the hash decide once more over everything that is marked, whoever has proved it.

        A mark that another process makes meanwhile is not lost, for only marks are written over.  One that it takes
        away may become a claim, which is found wrong.

        Args:
            arrived_too: not of an unlisted blob, whose chunks have arrived for the whole to decide over.

        Raises:
            OSError: as `mark`.
        """
        marked = self.states().translate(MARKED if arrived_too else MARKED_UNLISTED)
        for run in re.finditer(rb"\x01+", marked):
            self._write(STATES_AT + run.start(), bytes([CLAIMED]) * len(run[0]))

    def all_in(self, states: tuple[int, ...]) -> bool:
        """True when every chunk is in one of `states`."""
        found = self.states()
        if ABSENT in found and ABSENT not in states:
            return False  # the most common answer by far, and the cheapest
        return not found.translate(None, bytes(states))

    def byte_ranges(self, chunks: ChunkList) -> list[tuple[int, int]]:
        """Byte ranges [start, stop) of chunks that are on disk, claims included, in order."""
        return ranges_on_disk(chunks.size, chunks.starts, self.states())

    def states(self) -> bytes:
        """The state of each chunk as it is now."""
        return self._view[STATES_AT : STATES_AT + self._count]

    def try_lock_chunk(self, index: int) -> bool:
        """Single flight between processes: take chunk `index`; False when another process has it."""
        with step("chunk locked"):
            return self.fd < 0 or locks.try_lock(self.fd, STATES_AT + index)

    def unlock_chunk(self, index: int) -> None:
        """Give chunk `index` back."""
        if self.fd >= 0:
            with contextlib.suppress(OSError), step("chunk unlocked"):  # the end of the process frees it, too
                locks.unlock(self.fd, STATES_AT + index)

    @contextlib.contextmanager
    def locked(self, lock: Lock) -> Iterator[None]:
        """Hold one of the blob's locks, waiting for other processes, and for other threads of this one.

        Raises:
            LockHeld: it was not to be had within `locks.PATIENCE`, twice that when a thread had it first.
            OSError: as the kernel says.
        """
        with locks.turn(self._threads[lock]):  # one open file has a lock once, whichever thread asks for it
            if self.fd < 0:
                yield
                return
            locks.wait_lock(self.fd, lock)
            try:
                yield
            finally:
                locks.unlock(self.fd, lock)
