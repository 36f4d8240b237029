"""Handles: what the wire asks about files that are opened and closed; a Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fusefs.fuse.wire.device import Device


class Handles(Protocol):
    """Decides how an open file is served, and hears of its end.  Called from threads, never from the event loop."""

    def connected(self, device: Device, *, offered: bool) -> None:
        """The mount answers from now on.

        Args:
            device: opens and closes backing ids, as long as the mount lives.
            offered: whether the kernel has passthrough, and was asked for it.
        """

    def opened(self, node: int, handle: int, flags: int) -> tuple[int, int]:
        """A file was opened; the open flags of the reply (FOPEN_...), and a backing id, 0 for none.

        One call at a time, in the order of the replies.

        Args:
            node: the inode.
            handle: what READ and RELEASE will name.
            flags: those that were going to be sent.
        """

    def released(self, node: int, handle: int) -> None:
        """The last descriptor of an open file was closed; before anybody else hears of it."""
