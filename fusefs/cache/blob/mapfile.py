"""The file of a chunk map: its format, its locks, and what is said of it where the blob is not open.

File: `magic (16) | blob digest (32) | blob size (u64) | chunks (u64) | list fingerprint (32) | boot id (16) |
last use (u64, seconds since 1970) | condemned (u8) | native (u8) | zero (6)`, then the states.  The offsets of the
header bytes double as lock bytes (`Lock`), those of the states as chunk locks.  A map is condemned when its chunk list
was found lying: every process that has it mapped sees so before its next read.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import stat
import struct
from typing import TYPE_CHECKING

from fusefs.cache.blob.native import set_native
from fusefs.system import locks
from fusefs.system.files import FOREIGN, boot_id, open_inside, pwrite_all, read_plain, remove_foreign
from fusefs.system.spot import stat_at, unlink_at
from fusefs.system.steps import step
from fusefs.values.chunklimits import MAX_CHUNKS
from fusefs.values.chunkpack import fingerprint

if TYPE_CHECKING:
    from fusefs.system.spot import Where
    from fusefs.values.chunks import Blob, ChunkList

_MAGIC = b"fusefs-map 1\n\0\0\0"
_HEADER = struct.Struct("<16s32sQQ32s16s16x")
BLOB_ENDS_AT, LIST_AT, BOOT_AT, USED_AT, CONDEMNED_AT = 48, 64, 96, 112, 120
USED = struct.Struct("<Q")
STATES_AT = _HEADER.size
"""Where things are: before BOOT_AT what a list decides, from there to USED_AT the boot, then what changes meanwhile."""

CONDEMNED = b"\x01"

# Plain ints, not an enum: they are compared in the hot path.
ABSENT, PRESENT, CLAIMED, ARRIVED = range(4)
"""A chunk's state: not here; proved in this boot; marked in an earlier boot, to be hashed before it is served; here,
but without a digest to prove it by (only the whole blob's will)."""

SERVED = (PRESENT, ARRIVED)
"""States whose bytes may be read, where the unproved may be read at all."""

_IN_ANOTHER_BOOT = bytes([ABSENT]) + bytes([CLAIMED]) * 255
"""What a state is worth after a boot: a byte that was never a state is a claim like any other, for the hash decides."""

MARKED = bytes([0, 1, 0]) + bytes([1]) * 253
"""1 for each state that a chunk with a digest may have without being claimed; all but one of them come from rot."""

MARKED_UNLISTED = bytes([0, 1]) + bytes(254)
"""1 for what was proved; what has merely arrived is not served, and the whole decides over it."""


class Lock(enum.IntEnum):
    """What the lock bytes in the header stand for."""

    OPEN = 0  # shared while the blob is open anywhere, exclusive to evict
    CHANGE = 1  # exclusive while files of the blob are created, renamed or judged; short
    SEAL = 2  # exclusive while the whole blob is hashed


def ready(path: Where, fd: int, blob: Blob, chunks: ChunkList, *, otherwise: int, anew: bool) -> int:
    """Make the map file at `path`, open and locked (`open_locked`) as `fd`, speak of this list and this boot.

    See `ChunkMap.attach`.  Gives the descriptor, which may be another one by now.

    Raises:
        OSError: as there; `fd` is closed.
    """
    try:
        wanted = header_of(blob, chunks)
        size = os.fstat(fd).st_size
        header = os.pread(fd, STATES_AT, 0)
        if anew or size != STATES_AT + len(chunks) or header[:BOOT_AT] != wanted[:BOOT_AT]:
            if size:
                # Replaced, not rewritten: another process may have it mapped, and a shorter file is its SIGBUS.
                unlink_at(path)
                fd = _swap(fd, path)
            _initialise(fd, wanted, bytes([otherwise]) * len(chunks))
        elif header[:USED_AT] != wanted[:USED_AT]:
            states = os.pread(fd, len(chunks), STATES_AT)
            with step("marks claimed"):
                pwrite_all(fd, memoryview(states.translate(_IN_ANOTHER_BOOT)), STATES_AT)
            set_native(fd, native=False)
            # The boot id last: a crash before this line does the same again, one after it has nothing to do.
            pwrite_all(fd, memoryview(wanted)[:USED_AT], 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def speaks_otherwise(fd: int, blob: Blob, chunks: ChunkList) -> bool:
    """True when the map `fd` (of `open_locked`) speaks of another list of the blob.

    Raises:
        OSError: as the kernel says.
    """
    header, wanted = os.pread(fd, BOOT_AT, 0), header_of(blob, chunks)[:BOOT_AT]
    return header[:BLOB_ENDS_AT] == wanted[:BLOB_ENDS_AT] and header != wanted


def in_use(fd: int) -> bool:
    """True when somebody has the blob of the map `fd` (of `open_locked`) open.

    Raises:
        OSError: as the kernel says.
    """
    return not locks.try_lock(fd, Lock.OPEN)


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
    header = os.pread(fd, STATES_AT, 0)
    return header.startswith(_MAGIC) and header[CONDEMNED_AT : CONDEMNED_AT + 1] == CONDEMNED


def doubt(path: Where) -> None:
    """Let the hash decide once more over what is marked in the map file at `path`, whoever has it open.

    Raises:
        OSError: as the kernel says.
    """
    fd = open_locked(path)
    try:
        states = os.pread(fd, MAX_CHUNKS, STATES_AT)
        for run in re.finditer(rb"\x01+", states.translate(MARKED_UNLISTED)):
            pwrite_all(fd, memoryview(bytes([CLAIMED]) * len(run[0])), STATES_AT + run.start())
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
        states = read_plain(path, STATES_AT + MAX_CHUNKS)
    except OSError:
        return b""
    ours = states[: len(_MAGIC)] == _MAGIC and states[16:48] == blob.digest.key
    if not ours:
        return b""
    this_boot = states[BOOT_AT : BOOT_AT + 16] == boot_id()
    return states[STATES_AT:] if this_boot else states[STATES_AT:].translate(_IN_ANOTHER_BOOT)


def chunk_lock(index: int) -> int:
    """Which byte of a map file is the lock of chunk `index`."""
    return STATES_AT + index


def note_use(fd: int, seconds: int) -> None:
    """Write down in the map file `fd` when its blob was used last, in seconds since 1970.

    Raises:
        OSError: as `ChunkMap.mark`.
    """
    pwrite_all(fd, memoryview(USED.pack(seconds)), USED_AT)


def last_use(path: Where) -> int:
    """What a map file says of when its blob was read last, in seconds since 1970; 0 when it says nothing."""
    with contextlib.suppress(OSError):
        fd = open_inside(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            header = os.pread(fd, STATES_AT, 0)
        finally:
            os.close(fd)
        if len(header) == STATES_AT and header[: len(_MAGIC)] == _MAGIC:
            return int(USED.unpack_from(header, USED_AT)[0])
    return 0


def _initialise(fd: int, header: bytes, states: bytes) -> None:
    try:
        # Blocks now, not at the first mark: a mapped page that finds no room is a SIGBUS.
        os.posix_fallocate(fd, 0, len(header) + len(states))
        with step("map made"):
            pwrite_all(fd, memoryview(states), STATES_AT)
            pwrite_all(fd, memoryview(header), 0)
    except OSError:
        os.ftruncate(fd, 0)
        raise


def header_of(blob: Blob, chunks: ChunkList) -> bytes:
    """The header of a map of `blob` by this list, in this boot."""
    return _HEADER.pack(_MAGIC, blob.digest.key, blob.size, len(chunks), fingerprint(chunks), boot_id())
