"""Buffers: memory for chunks in flight, within a budget and used again.

A fresh buffer of megabytes costs a page fault for each of its pages, about as much as hashing it; a used one does not.
They are mappings, because those begin at a page, which writing past the page cache needs.
"""

from __future__ import annotations

from fusefs.cache.memory.buffer import Buffer


class Buffers:
    """At most `capacity` bytes lent out at a time; a single buffer is always granted.  For the event loop alone."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lent = 0
        self._free: list[Buffer] = []
        self._unused = 0  # bytes of the free ones

    def take(self, size: int, *, always: bool = False) -> Buffer | None:
        """A buffer of exactly `size` bytes, or None while the budget is used up.  Its content is anything.

        With `always` the budget is not asked: for a small buffer without which somebody would wait.
        """
        if self._lent and self._lent + size > self.capacity and not always:
            return None
        self._lent += size
        for i, buffer in enumerate(self._free):
            if buffer.size == size:
                self._unused -= size
                return self._free.pop(i)
        # Of another size, so of another blob: its memory goes back before more is asked for.
        while self._free and self._lent + self._unused > self.capacity:
            self._unused -= self._free.pop().size
        try:
            return Buffer.of(size)
        except OSError:  # the machine has no memory: as with the budget, somebody else's comes back
            self._lent -= size
            return None

    def give(self, buffer: Buffer) -> None:
        """Give back what `take` lent, whatever memory it goes on with."""
        self._lent -= buffer.size
        self._unused += buffer.size
        self._free.append(buffer)
        if self._lent + self._unused > self.capacity:
            self._unused -= self._free.pop(0).size
