"""Foreseen: a chunk list that was asked for before anybody read, kept until its blob is opened.

A list of 10^5 lines is 10 MB of text.  To drop it when it has told that it is there would cost the first reader another
download, and another reading of it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from fusefs.errors import ListMemoryFull
from fusefs.values.listmemory import ListMemory, ListShare

if TYPE_CHECKING:
    from fusefs.fetch.listchoice import Listed

KEPT = ListMemory(64 << 20)
"""Bytes of all lists of this process that wait so: sixteen of 10^5 chunks.  Of others it is asked again; so lists that
nobody may need never take the memory (`fusefs.values.listmemory`) of those that somebody reads by."""

_BYTES_A_CHUNK = 40


class Foreseen:
    """Of one blob."""

    def __init__(self) -> None:
        self._kept: tuple[Listed, ListShare] | None = None

    def keep(self, listed: Listed) -> None:
        """Have it here, as far as there is memory for it."""
        chunks, share = listed[0], ListShare(KEPT)
        with suppress(ListMemoryFull):
            share.grow(_BYTES_A_CHUNK * len(chunks) if chunks.complete else 0)
            self._kept = listed, share

    def take(self) -> Listed | None:
        """What is here, for who opens the blob; None when it has to be asked for."""
        kept, self._kept = self._kept, None
        return None if kept is None else kept[0]
