"""Spill: verified chunks that the disk would not take, kept in memory for as long as the budget lasts (P8)."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

log = logging.getLogger(__name__)

_MANY = 100
"""Chunks in a row that the disk has to take before all is well: one that is just full takes one now and then."""


class Spill:
    """Least recently used chunks of all blobs of one process, at most `capacity` bytes.  Thread-safe.

    Attributes:
        used: bytes held now.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.used = 0
        self._chunks: OrderedDict[tuple[Hashable, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._warned = False
        self._taken = 0

    def warn(self, reason: Exception) -> None:
        """Say, once for all blobs, why chunks stay in memory: a person may make room."""
        with self._lock:
            first, self._warned = not self._warned, True
            self._taken = 0
        if first:
            log.warning(
                "%s; chunks that the cache cannot take are served from memory, and fetched again when they are needed",
                reason,
            )

    def well(self) -> None:
        """The disk has taken a chunk; when it has taken many running, say so, once, if it did not before."""
        if self._warned:
            with self._lock:
                self._taken += 1
                again = self._warned and self._taken >= _MANY
                self._warned &= not again
            if again:
                log.info("The cache takes chunks again.")

    def put(self, owner: Hashable, index: int, data: bytes) -> None:
        """Keep chunk `index` of `owner`; the least recently used ones make room.

        The owner is a chunker, not a digest: a blob whose list lied gets another chunker.
        One chunk is always kept, even one larger than the capacity: a reader is waiting for it.
        """
        with self._lock:
            self.used += len(data) - len(self._chunks.pop((owner, index), b""))
            self._chunks[owner, index] = data
            while self.used > self._capacity and len(self._chunks) > 1:
                self.used -= len(self._chunks.popitem(last=False)[1])

    def get(self, owner: Hashable, index: int) -> bytes | None:
        """The chunk, and it counts as used now."""
        with self._lock:
            data = self._chunks.get((owner, index))
            if data is not None:
                self._chunks.move_to_end((owner, index))
            return data

    def chunks_of(self, owner: Hashable) -> list[tuple[int, bytes]]:
        """The chunks of `owner`, with their numbers, the least recently used one first."""
        with self._lock:
            return [(index, data) for (whose, index), data in self._chunks.items() if whose is owner]

    def drop(self, owner: Hashable, index: int) -> None:
        """The disk has taken chunk `index` of `owner` after all."""
        with self._lock:
            self.used -= len(self._chunks.pop((owner, index), b""))

    def hand_over(self, owner: Hashable, heir: Hashable) -> None:
        """What `owner` has here belongs to `heir` from now on."""
        with self._lock:
            self._chunks = OrderedDict(
                ((heir if whose is owner else whose, index), data) for (whose, index), data in self._chunks.items()
            )

    def __contains__(self, key: tuple[Hashable, int]) -> bool:
        return key in self._chunks

    def has_any_of(self, owner: Hashable) -> bool:
        """Whether a chunk of `owner` is here."""
        with self._lock:
            return any(key[0] is owner for key in self._chunks)

    def __len__(self) -> int:
        return len(self._chunks)

    def forget(self, owner: Hashable) -> None:
        """Drop every chunk of one owner."""
        with self._lock:
            for key in [key for key in self._chunks if key[0] is owner]:
                self.used -= len(self._chunks.pop(key))
