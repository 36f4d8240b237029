"""Allowance: how much pyfuse3 may be asked at once, so that all its answers fit the socket.

pyfuse3 writes a reply with Python's lock held.  If the socket were full it would wait with it for the porter, which
waits for that lock: for ever.  So a request is handed over when there is room for its answer, whatever came before has
been answered or not; until then it is held here, where no thread waits for it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Allowance(Generic[T]):
    """Of one socket.  Thread-safe.

    Args:
        room: what the answers under way may cost together; one alone may cost more.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._held: deque[tuple[int, T]] = deque()
        self._lock = threading.Lock()

    def ask(self, cost: int, request: T) -> bool:
        """Whether `request`, whose answer costs `cost`, may be asked now; else `answered` gives it some time."""
        with self._lock:
            if self._held or not self._fits(cost):
                self._held.append((cost, request))
                return False
            self._used += cost
            return True

    def answered(self, cost: int) -> list[T]:
        """An answer that cost that much has left the socket; requests that may be asked now, in their order."""
        with self._lock:
            self._used -= cost
            now = []
            while self._held and self._fits(self._held[0][0]):
                cost, request = self._held.popleft()
                self._used += cost
                now.append(request)
            return now

    def _fits(self, cost: int) -> bool:
        return not self._used or self._used + cost <= self._room
