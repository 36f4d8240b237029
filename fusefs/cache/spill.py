"""Spill: verified chunks that the disk would not take, kept in memory for as long as the budget lasts (P8)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusefs.digest import Digest


class Spill:
    """Least recently used chunks of all blobs of one process, at most `capacity` bytes.  Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._used = 0
        self._chunks: OrderedDict[tuple[Digest, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, digest: Digest, index: int, data: bytes) -> None:
        """Keep chunk `index` of the blob `digest`; the least recently used ones make room.

        One chunk is always kept, even one larger than the capacity: a reader is waiting for it.
        """
        with self._lock:
            self._used += len(data) - len(self._chunks.pop((digest, index), b""))
            self._chunks[digest, index] = data
            while self._used > self._capacity and len(self._chunks) > 1:
                self._used -= len(self._chunks.popitem(last=False)[1])

    def get(self, digest: Digest, index: int) -> bytes | None:
        """The chunk, and it counts as used now."""
        with self._lock:
            data = self._chunks.get((digest, index))
            if data is not None:
                self._chunks.move_to_end((digest, index))
            return data

    def __contains__(self, key: tuple[Digest, int]) -> bool:
        return key in self._chunks

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def used(self) -> int:
        """Bytes held now."""
        return self._used

    def forget(self, digest: Digest) -> None:
        """Drop every chunk of one blob."""
        with self._lock:
            for key in [key for key in self._chunks if key[0] == digest]:
                self._used -= len(self._chunks.pop(key))
