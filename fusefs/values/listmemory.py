"""ListMemory: how much memory the chunk lists of this process take together, and the limit of it.

A list of 2^21 chunks takes 84 MiB, and a registry can have as many blobs with such a list as it likes.  What lies
pinned in the cache is mapped and takes none of it (`fusefs.cache.blob.mapped`), so this is for lists on their way from
a registry, and for those that the disk would not take.
"""

from __future__ import annotations

import threading

from fusefs.errors import ListMemoryFull

MOST = 256 << 20
"""Bytes of all lists together: two of the longest while they are read, or five of a terabyte in chunks of 1 MiB."""

UNCOUNTED = 1 << 16
"""Bytes; a list that takes less is not counted: it is less than a blob that is open takes otherwise."""


class ListMemory:
    """A budget of bytes.  Thread-safe."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.taken = 0
        self._lock = threading.RLock()  # the end of a list, which gives back, may come while another one takes

    def take(self, size: int) -> None:
        """Count `size` bytes more.

        Raises:
            ListMemoryFull: there is no room for them; nothing was counted.
        """
        with self._lock:
            if self.taken + size > self.most:
                raise ListMemoryFull(
                    f"chunk lists take more than {self.most >> 20} MiB of memory together; read fewer blobs at a time"
                )
            self.taken += size

    def give(self, size: int) -> None:
        """Count `size` bytes less."""
        with self._lock:
            self.taken -= size


class ListShare:
    """What one list has taken of a budget; given back with the last reference to it."""

    __slots__ = ("_memory", "size")

    def __init__(self, memory: ListMemory) -> None:
        self.size = 0
        self._memory = memory

    def grow(self, size: int) -> None:
        """Hold `size` bytes in all, or fewer than before.

        Raises:
            ListMemoryFull: there is no room for them.
        """
        size = size if size > UNCOUNTED else 0
        more = size - self.size
        if more > 0:
            self._memory.take(more)
        else:
            self._memory.give(-more)
        self.size = size

    def __del__(self) -> None:
        self._memory.give(self.size)


LISTS = ListMemory()
"""The one of this process."""
