"""Handles: what the wire asks about files that are opened and closed; a Protocol."""

from __future__ import annotations

from typing import Protocol


class Handles(Protocol):
    """Decides how an open file is served, and hears of its end.  Called from threads, never from the event loop."""

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
