"""Buffer: memory for one chunk on its way, with one owner at a time."""

from __future__ import annotations

import mmap


class Buffer:
    """Some memory, and a view of all of it.  Only its owner writes to it.

    The worker that fetches a span owns its buffer until `fetch_span` returns.  When a chunk stays in memory for its
    readers, the memory changes its owner and the buffer goes on with other memory (`go_on_with`); the buffer itself
    stays with the worker.

    Attributes:
        pages: a mapping, which may stay in memory for readers and can be written past the page cache; None for other
            memory.
        view: all of it.
        size: bytes of it.
    """

    __slots__ = ("pages", "size", "view")

    pages: mmap.mmap | None
    view: memoryview
    size: int

    def __init__(self, memory: mmap.mmap | bytearray) -> None:
        self.go_on_with(memory)

    @classmethod
    def of(cls, size: int) -> Buffer:
        """A new mapping of exactly `size` bytes, at least one.

        Raises:
            OSError: the machine has none.
        """
        return cls(mmap.mmap(-1, size))

    def go_on_with(self, memory: mmap.mmap | bytearray) -> None:
        """From now on the former memory is somebody else's, and `memory` is this buffer's."""
        self.pages = memory if isinstance(memory, mmap.mmap) else None
        self.view = memoryview(memory)
        self.size = len(memory)
