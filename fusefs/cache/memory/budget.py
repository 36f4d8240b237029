"""Memory: what of the blobs lies in memory, in one budget for one process.

Who owns a piece is a key here and no more: `fusefs.cache.blob.stored` puts pieces together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.cache.memory.recent import Recent
from fusefs.cache.memory.spill import Spill

if TYPE_CHECKING:
    from collections.abc import Hashable

    from fusefs.errors import CacheFull


class Memory:
    """At most `capacity` bytes.

    Attributes:
        spill: chunks that the disk would not take; they go first, for nobody else has them.
        recent: chunks that were fetched a moment ago and lie on the disk, too.
    """

    def __init__(self, capacity: int) -> None:
        self.spill = Spill(capacity)
        self.recent = Recent(capacity, self.spill)
        self._answer = memoryview(bytearray())

    def take_over(self, owner: Hashable, index: int, data: memoryview, reason: CacheFull) -> None:
        """The disk does not take a chunk for `reason`."""
        self.spill.warn(reason)
        self.spill.put(owner, index, bytes(data))
        self.recent.leave_to_others()

    def answer(self, size: int) -> memoryview:
        """A buffer for one answer of `size` bytes; the same one each time, because a fresh one has to be faulted in.

        Good until the next call.  For the event loop alone.
        """
        if len(self._answer) < size:
            self._answer = memoryview(bytearray(size))
        return self._answer[:size]

    def forget(self, owner: Hashable) -> None:
        """Drop every chunk of one blob."""
        self.spill.forget(owner)
        self.recent.forget(owner)
