"""ChunkMap: which chunks of one blob are present, one byte a chunk, shared between processes.

The file is mapped, so that a mark made by any process is seen by all at once and survives kill -9.  It is never
synced on the read path: after a power cut the boot id differs, every mark becomes a claim, and the hash decides.
One byte a chunk, so that two processes never write the same byte.

File: `magic (16) | blob digest (32) | blob size (u64) | chunks (u64) | list fingerprint (32) | boot id (16) |
last use (u64, seconds since 1970) | condemned (u8) | native (u8) | zero (6)`, then the states.  The offsets of the
header bytes double as lock bytes (`Lock`), those of the states as chunk locks.  A map is condemned when its chunk list
was found lying: every process that has it mapped sees so before its next read.
"""

from __future__ import annotations

import contextlib
import enum
import mmap
import os
import re
import stat
import struct
import threading
from typing import TYPE_CHECKING

from fusefs.cache.blob.native import set_native
from fusefs.cache.blob.presence import ranges_on_disk
from fusefs.system import locks
from fusefs.system.files import FOREIGN, boot_id, open_inside, pwrite_all, read_plain, remove_foreign
from fusefs.system.spot import stat_at, unlink_at
from fusefs.system.steps import step
from fusefs.values.chunklimits import MAX_CHUNKS
from fusefs.values.chunkpack import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusefs.system.spot import Where
    from fusefs.values.chunks import Blob, ChunkList

_MAGIC = b"fusefs-map 1\n\0\0\0"
_HEADER = struct.Struct("<16s32sQQ32s16s16x")
_BLOB_ENDS_AT, _LIST_AT, _BOOT_AT, _USED_AT, _CONDEMNED_AT = 48, 64, 96, 112, 120
_USED = struct.Struct("<Q")
_STATES_AT = _HEADER.size
_CONDEMNED = b"\x01"

# Plain ints, not an enum: they are compared in the hot path.
ABSENT, PRESENT, CLAIMED, ARRIVED = range(4)
"""A chunk's state: not here; proved in this boot; marked in an earlier boot, to be hashed before it is served; here,
but without a digest to prove it by (only the whole blob's will)."""

SERVED = (PRESENT, ARRIVED)
"""States whose bytes may be read, where the unproved may be read at all."""

_IN_ANOTHER_BOOT = bytes([ABSENT]) + bytes([CLAIMED]) * 255
"""What a state is worth after a boot: a byte that was never a state is a claim like any other, for the hash decides."""

_MARKED = bytes([0, 1, 0]) + bytes([1]) * 253
"""1 for each state that a chunk with a digest may have without being claimed; all but one of them come from rot."""

_MARKED_UNLISTED = bytes([0, 1]) + bytes(254)
"""1 for what was proved; what has merely arrived is not served, and the whole decides over it."""


class Lock(enum.IntEnum):
    """What the lock bytes in the header stand for."""

    OPEN = 0  # shared while the blob is open anywhere, exclusive to evict
    CHANGE = 1  # exclusive while files of the blob are created, renamed or judged; short
    SEAL = 2  # exclusive while the whole blob is hashed


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
        made = cls(-1, mmap.mmap(-1, _STATES_AT + len(chunks)), len(chunks))
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
        try:
            wanted = _header(blob, chunks)
            size = os.fstat(fd).st_size
            header = os.pread(fd, _STATES_AT, 0)
            if anew or size != _STATES_AT + len(chunks) or header[:_BOOT_AT] != wanted[:_BOOT_AT]:
                if size:
                    # Replaced, not rewritten: another process may have it mapped, and a shorter file is its SIGBUS.
                    unlink_at(path)
                    fd = _swap(fd, path)
                _initialise(fd, wanted, bytes([otherwise]) * len(chunks))
            elif header[:_USED_AT] != wanted[:_USED_AT]:
                states = os.pread(fd, len(chunks), _STATES_AT)
                with step("marks claimed"):
                    pwrite_all(fd, memoryview(states.translate(_IN_ANOTHER_BOOT)), _STATES_AT)
                set_native(fd, native=False)
                # The boot id last: a crash before this line does the same again, one after it has nothing to do.
                pwrite_all(fd, memoryview(wanted)[:_USED_AT], 0)
            return cls(fd, mmap.mmap(fd, _STATES_AT + len(chunks), prot=mmap.PROT_READ), len(chunks))
        except BaseException:
            os.close(fd)
            raise

    @staticmethod
    def in_use_otherwise(fd: int, blob: Blob, chunks: ChunkList) -> bool:
        """True when the map `fd` (of `open_locked`) speaks of another list, and somebody has the blob open with that.

        Raises:
            OSError: as the kernel says.
        """
        header, wanted = os.pread(fd, _BOOT_AT, 0), _header(blob, chunks)[:_BOOT_AT]
        if header[:_BLOB_ENDS_AT] != wanted[:_BLOB_ENDS_AT] or header == wanted:
            return False
        return not locks.try_lock(fd, Lock.OPEN)

    def speaks_of(self, chunks: ChunkList) -> bool:
        """Whether its marks are by this list, and not by one that another process has bound it to since."""
        return self.fd < 0 or self._view[_LIST_AT:_BOOT_AT] == fingerprint(chunks)

    def rebind(self, blob: Blob, chunks: ChunkList) -> None:
        """Bind the map to another list of the same chunks (digests that were computed since)."""
        if self.fd >= 0:
            with step("map bound"):
                pwrite_all(self.fd, memoryview(_header(blob, chunks))[:_USED_AT], 0)

    @property
    def last_use(self) -> int:
        """When a byte of the blob was read last, in seconds since 1970, as far as it was noted; 0 when never."""
        return int(_USED.unpack_from(self._view, _USED_AT)[0])

    def note_use(self, seconds: int) -> None:
        """Remember when a byte of the blob was read last.

        Raises:
            OSError: as `mark`.
        """
        if self.fd >= 0:
            note_use(self.fd, seconds)

    @property
    def condemned(self) -> bool:
        """Whether some process has found its list lying: nothing may be served by it any more."""
        return not self._view.closed and self._view[_CONDEMNED_AT] == 1

    def condemn(self) -> None:
        """Tell every process that has the map open that its list lied.

        Raises:
            OSError: as `mark`.
        """
        self._write(_CONDEMNED_AT, _CONDEMNED)

    def close(self) -> None:
        """Drop the mapping, the file and every lock."""
        self._view.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __getitem__(self, index: int) -> int:
        return self._view[_STATES_AT + index]

    def mark(self, index: int, state: int) -> None:
        """Set the state of chunk `index`.

        Raises:
            OSError: the disk does not take even one byte (it was given room, so: read-only, or broken).
        """
        with step("chunk marked"):
            self._write(_STATES_AT + index, bytes([state]))

    def mark_all(self, state: int) -> None:
        """Set the state of every chunk."""
        with step("all marked"):
            self._write(_STATES_AT, bytes([state]) * self._count)

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
        marked = self.states().translate(_MARKED if arrived_too else _MARKED_UNLISTED)
        for run in re.finditer(rb"\x01+", marked):
            self._write(_STATES_AT + run.start(), bytes([CLAIMED]) * len(run[0]))

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
        return self._view[_STATES_AT : _STATES_AT + self._count]

    def try_lock_chunk(self, index: int, count: int = 1) -> bool:
        """Single flight between processes: take `count` chunks; False, and none, when another process has one."""
        with step("chunk locked"):
            return self.fd < 0 or locks.try_lock(self.fd, _STATES_AT + index, count=count)

    def unlock_chunk(self, index: int, count: int = 1) -> None:
        """Give `count` chunks from `index` on back."""
        if self.fd >= 0:
            with contextlib.suppress(OSError), step("chunk unlocked"):  # the end of the process frees it, too
                locks.unlock(self.fd, _STATES_AT + index, count)

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


def open_locked(path: Where) -> int:
    """Open the map file at `path`, made if need be, and hold its Lock.CHANGE.

    Raises:
        LockHeld: somebody else has it for too long.
        OSError: as the kernel says.
    """
    while True:
        try:
            fd = open_inside(path, os.O_RDWR | os.O_CREAT)
        except OSError as exc:
            if exc.errno not in FOREIGN:
                raise
            remove_foreign(path)
            continue
        try:
            locks.wait_lock(fd, Lock.CHANGE)
            # While we waited, whoever had the lock may have replaced the file or moved it away.
            if os.path.samestat(os.fstat(fd), stat_at(path)):
                # One with another name as well is somebody else's, too (`fusefs.cache.blob.data`).
                if stat.S_ISREG(os.fstat(fd).st_mode) and os.fstat(fd).st_nlink == 1:
                    return fd
                unlink_at(path)
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def condemned(fd: int) -> bool:
    """Whether the list of the map file `fd` was found lying.

    Raises:
        OSError: as the kernel says.
    """
    header = os.pread(fd, _STATES_AT, 0)
    return header.startswith(_MAGIC) and header[_CONDEMNED_AT : _CONDEMNED_AT + 1] == _CONDEMNED


def doubt(path: Where) -> None:
    """Let the hash decide once more over what is marked in the map file at `path`, whoever has it open.

    Raises:
        OSError: as the kernel says.
    """
    fd = open_locked(path)
    try:
        states = os.pread(fd, MAX_CHUNKS, _STATES_AT)
        for run in re.finditer(rb"\x01+", states.translate(_MARKED_UNLISTED)):
            pwrite_all(fd, memoryview(bytes([CLAIMED]) * len(run[0])), _STATES_AT + run.start())
    finally:
        os.close(fd)


def _swap(fd: int, path: Where) -> int:
    """Open the map anew, then close `fd`: an error leaves `fd` open, to be closed once, by whoever has it."""
    fresh = open_locked(path)
    os.close(fd)
    return fresh


def peek(path: Where, blob: Blob) -> bytes:
    """The states in the map file at `path`, without taking part in anything; empty when it is not that blob's.

    Marks of an earlier boot are claims here, too.
    """
    try:
        states = read_plain(path, _STATES_AT + MAX_CHUNKS)
    except OSError:
        return b""
    ours = states[: len(_MAGIC)] == _MAGIC and states[16:48] == blob.digest.key
    if not ours:
        return b""
    this_boot = states[_BOOT_AT : _BOOT_AT + 16] == boot_id()
    return states[_STATES_AT:] if this_boot else states[_STATES_AT:].translate(_IN_ANOTHER_BOOT)


def chunk_lock(index: int) -> int:
    """Which byte of a map file is the lock of chunk `index`."""
    return _STATES_AT + index


def note_use(fd: int, seconds: int) -> None:
    """Write down in the map file `fd` when its blob was used last, in seconds since 1970.

    Raises:
        OSError: as `ChunkMap.mark`.
    """
    pwrite_all(fd, memoryview(_USED.pack(seconds)), _USED_AT)


def last_use(path: Where) -> int:
    """What a map file says of when its blob was read last, in seconds since 1970; 0 when it says nothing."""
    with contextlib.suppress(OSError):
        fd = open_inside(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            header = os.pread(fd, _STATES_AT, 0)
        finally:
            os.close(fd)
        if len(header) == _STATES_AT and header[: len(_MAGIC)] == _MAGIC:
            return int(_USED.unpack_from(header, _USED_AT)[0])
    return 0


def _initialise(fd: int, header: bytes, states: bytes) -> None:
    try:
        # Blocks now, not at the first mark: a mapped page that finds no room is a SIGBUS.
        os.posix_fallocate(fd, 0, len(header) + len(states))
        with step("map made"):
            pwrite_all(fd, memoryview(states), _STATES_AT)
            pwrite_all(fd, memoryview(header), 0)
    except OSError:
        os.ftruncate(fd, 0)
        raise


def _header(blob: Blob, chunks: ChunkList) -> bytes:
    return _HEADER.pack(_MAGIC, blob.digest.key, blob.size, len(chunks), fingerprint(chunks), boot_id())
