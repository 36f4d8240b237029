"""InPlaceFile: a file of this machine as a file of the mount."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from fusefs.values.voucher import BOUND
from fusefs.vfs.answer import Answered

if TYPE_CHECKING:
    from fusefs.offers.inplace import InPlace
    from fusefs.values.chunks import Blob
    from fusefs.vfs.answer import Send


class InPlaceFile:
    """A BlobFile (`fusefs.vfs.filesystem`) that is here whole, and is proved chunk by chunk whenever it is read.

    Attributes:
        blob: digest and size.
        lies: always 0: its list was computed from the file whose digest it has.
    """

    lies = 0

    def __init__(self, file: InPlace) -> None:
        self.blob: Blob = file.blob
        self._file = file
        self._openers = 0

    async def read(self, off: int, size: int) -> bytes:
        """See `BlobFile.read`."""
        size = min(size, self.blob.size - off)
        if size <= 0:
            return b""
        return await trio.to_thread.run_sync(self._file.read, off, size, abandon_on_cancel=True)

    def answer(self, _off: int, _size: int, _lies: int, _buffer: memoryview, _send: Send) -> Answered:
        """See `BlobFile.answer`: its chunks are hashed first, which takes as long as a disk."""
        return Answered.ELSEWHERE

    async def arrive(self, off: int, size: int) -> None:
        """See `BlobFile.arrive`: it is here."""

    async def is_read_in_order(self) -> bool:
        """See `BlobFile.is_read_in_order`: nobody records its loads."""
        return False

    def open(self) -> None:
        """See `BlobFile.open`."""
        self._openers += 1

    def release(self) -> None:
        """See `BlobFile.release`."""
        self._openers -= 1
        if not self._openers:
            self._file.close_idle()

    async def backing(self) -> None:
        """None: who may change the file is not us alone, so what is read of it is hashed each time."""

    @property
    def state(self) -> str:
        """`sealed`, or `quarantined` once it has been found changed."""
        return "quarantined" if self._file.changed else "sealed"

    @property
    def proof(self) -> str:
        """See `BlobFile.proof`."""
        return str(BOUND)

    @property
    def present(self) -> int:
        """All of it."""
        return self.blob.size

    def presence(self, cells: int, off: int, size: int) -> list[float]:  # noqa: ARG002 # the same everywhere
        """See `BlobFile.presence`."""
        return [1.0] * cells
