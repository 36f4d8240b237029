"""SlotFile: the slots of a list that is not complete, as they lie pinned beside the blob.

A slot is written after the bytes of its chunk and before their mark, under the chunk's lock.  Nothing is synced: a
crash or a power cut may leave any slot torn, old or unknown, and rot may change one.  All that this costs is a fetch:
bytes are compared with a slot before it counts, and the slot of a chunk that is not here is written anew by whoever
accepts it next.

Slots are read by pread, and not mapped: another process' write is seen all the same, a bad sector is an errno and no
SIGBUS, and it takes one descriptor and not two.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from fusefs.system.files import open_inside, preadv_all, pwrite_all
from fusefs.system.spot import stat_at
from fusefs.system.steps import step
from fusefs.values.chunkpack import FRONT, slots_at
from fusefs.values.slots import Slots

if TYPE_CHECKING:
    from fusefs.system.spot import Where

SLOT = 32
"""Bytes of a slot: a sha256, or zeros as long as it is not known."""

_UNKNOWN = bytes(SLOT)


class SlotFile(Slots):
    """Takes over `fd`, whose slots begin at `at`."""

    def __init__(self, fd: int, at: int, path: Where) -> None:
        super().__init__()
        self._fd = fd
        self._at = at
        self._path = path

    @classmethod
    def open(cls, path: Where) -> SlotFile:
        """The slots of the pinned list at `path`, which has been read and found whole.

        Raises:
            InvalidChunkList: it has none.
            OSError: as the kernel says.
        """
        fd = open_inside(path, os.O_RDWR)
        try:
            return cls(fd, slots_at(os.pread(fd, FRONT, 0)), path)
        except BaseException:
            os.close(fd)
            raise

    def get(self, index: int) -> bytes | None:
        """See `Slots.get`.  What lies on disk counts: another process may have accepted the chunk since."""
        raw = bytearray(SLOT)
        try:
            got = preadv_all(self._fd, memoryview(raw), self._at + SLOT * index)
        except OSError:
            return None  # a bad sector: as good as unknown
        return bytes(raw) if got == SLOT and raw != _UNKNOWN else None

    def fill(self, index: int, raw: bytes) -> None:
        """See `Slots.fill`."""
        with step("slot written"):
            pwrite_all(self._fd, memoryview(raw), self._at + SLOT * index)
        self.note(index, raw)

    def empty(self, index: int) -> None:
        """See `Slots.empty`."""
        if self.get(index) is not None:
            pwrite_all(self._fd, memoryview(_UNKNOWN), self._at + SLOT * index)

    def differing(self) -> list[int]:
        """See `Slots.differing`."""
        lies_here = self._lies_here()
        return [index for index, raw in sorted(self._seen.items()) if not lies_here or self.get(index) != raw]

    def _lies_here(self) -> bool:
        """Whether others still have this file; not when its name is gone, or another one's (rot, `cp -al`)."""
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(self._fd), stat_at(self._path))
        return False

    def close(self) -> None:
        """See `Slots.close`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
