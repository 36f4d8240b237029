"""MountedBlob: what the file system asks of one blob; a Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fusefs.fetch.backings import Lent
    from fusefs.values.chunks import Blob
    from fusefs.vfs.answer import Answered, Send


class MountedBlob(Protocol):
    """One distinct blob of the mount, shared by every path that shows it."""

    blob: Blob

    async def read(self, off: int, size: int) -> bytes | bytearray | memoryview:
        """The whole range, clipped to the end of the blob; nothing behind it.

        Raises:
            FusefsError: it could not be had, or not be proved.
        """

    def answer(self, off: int, size: int, lies: int, buffer: memoryview, send: Send) -> Answered:
        """Give `send` the same if it is here now and `lies` lists were wrong; for any thread, and never waits.

        `buffer` has room for it, and is the caller's.
        """

    async def arrive(self, off: int, size: int) -> None:
        """Wait until it is here, where `answer` said that it is ABSENT.

        Raises:
            FusefsError: it could not be had, or not be proved.
        """

    async def is_read_in_order(self) -> bool:
        """Whether the last load of it that was recorded went through it in long pieces; ends soon."""

    def open(self) -> None:
        """One more opener; local and immediate."""

    async def backing(self) -> Lent | None:
        """The whole blob as a file that no byte of changes while it is lent; None when there is none now."""

    def release(self) -> None:
        """One opener less."""

    @property
    def state(self) -> str:
        """`absent`, `partial`, `sealed`, `quarantined` or `unproved`; local and immediate."""

    @property
    def proof(self) -> str:
        """Who stands behind the chunk list; local and immediate."""

    @property
    def lies(self) -> int:
        """How many chunk lists by which the file was served have turned out to be wrong."""

    @property
    def present(self) -> int:
        """Bytes present; local and immediate."""

    def presence(self, cells: int, off: int, size: int) -> list[float]:
        """For each of `cells` equal parts of the bytes [off, off+size), the fraction that is present."""
