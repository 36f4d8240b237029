"""Quota: how much of its disk the cache may take, and who makes room when it is used up.

Two limits: the bytes of all blobs together (`--cache-size`), and what has to stay free of the disk (`--keep-free`).
Before a chunk is written, `room` is asked for.  When there is no room, what was used least recently goes, of all
blobs, until there is (`fusefs.cache.space.eviction`).  What may not go (pinned, being read, used by another process)
stays; when nothing else is left, the chunk is served from memory, as with a full disk (P8).

Other processes write to the same disk, so no figure here is exact: each look gives credit for a part of the room that
was seen, and the next look comes when that is used up.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.cache.blob.usage import order
from fusefs.errors import CacheError, CacheFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fusefs.system.spot import Held
    from fusefs.values.digest import Digest

    Victim = tuple[float, Callable[[int], int]]
    """What may go: when it was used last, in seconds since 1970, and what frees up to so many bytes of it."""

log = logging.getLogger(__name__)

_SHARE = 4
"""A look gives credit for this part of the room at most, because others write, too."""

_AT_ONCE = 32
"""This part of a limit is evicted at once at most: looking for victims costs more than a chunk."""

_MOST_AT_ONCE = 256 << 20

_PAUSE = 10
"""After a look that found nothing to go, none is made for this many times as long as that one took: what comes
meanwhile is served from memory."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a person asked for.

    Attributes:
        size: bytes that all blobs together may take on disk; None for no limit.
        keep_free: bytes that stay free of the disk; None for a twentieth of it, at most 2 GiB.
    """

    size: int | None = None
    keep_free: int | None = None

    def floor(self, disk: int) -> int:
        """Bytes to leave free on a disk of `disk` bytes."""
        return min(disk // 20, 2 << 30) if self.keep_free is None else self.keep_free


DEFAULT_LIMITS = Limits()


def _bytes(size: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 10240 or unit == "GiB":
            break
        size >>= 10
    return f"{size} {unit}"


class Quota:
    """Of one cache directory.  Blocking; thread-safe.

    Attributes:
        limits: what must hold.
        evicted: bytes that this process has evicted.
        wanted: blobs that somebody fetches whole, so that no part of them may go.
    """

    def __init__(
        self,
        root: Path,
        held: Held,
        limits: Limits = DEFAULT_LIMITS,
        *,
        used: Callable[[], int],
        victims: Callable[[], list[Victim]],
    ) -> None:
        """What all blobs take now is told by `used`, what may go by `victims`; `root` is for messages."""
        self.limits = limits
        self._root = root
        self._held = held
        self._used = used
        self._victims = victims
        self.evicted = 0
        self.wanted: set[Digest] = set()
        self._lock = threading.Lock()
        self._credit = 0
        self._promised = 0  # of what no look at the disk knows yet
        self._in_vain_until = 0.0
        self._told = False

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Have room for `size` more bytes, which are written in the block.

        Raises:
            CacheFull: there is none, and nothing more may be evicted.
        """
        with self._lock:
            if size > self._credit:
                if time.monotonic() < self._in_vain_until:
                    raise self._full(size)
                self._credit = self._find_room(size)
            self._credit -= size
            self._promised += size
        try:
            yield
        finally:
            with self._lock:
                self._promised -= size

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes may be written without anything having to go for them."""
        with self._lock:
            if size > self._credit:
                room = self._room()
                if room < size:
                    return False
                self._credit = max(size, room // _SHARE)
            return True

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """While this lasts no room is made, so that nobody looks for it at a blob that is being closed."""
        with self._lock:
            yield

    def excess(self) -> int:
        """Bytes that would have to go for the limits to hold; negative when there is room."""
        return -self._room()

    def most(self) -> int:
        """Bytes that could lie here if all else of the cache went: more there will never be room for."""
        room = self._free() - self.limits.floor(self._disk()) + self._used()
        return room if self.limits.size is None else min(room, self.limits.size)

    def _find_room(self, size: int) -> int:
        """Credit for `size` bytes at least, evicting if need be."""
        began = time.monotonic()
        room = self._room()
        if room < size:
            wanted = max(size, min(self._reach() // _AT_ONCE, _MOST_AT_ONCE))
            while room < size and self._evict(wanted - room):
                room = self._room()
            if room < size:
                now = time.monotonic()
                self._in_vain_until = now + _PAUSE * (now - began)
                raise self._full(size)
        return max(size, room // _SHARE)

    def _room(self) -> int:
        """Bytes that may be written now; negative when there are too many already."""
        room = self._free() - self.limits.floor(self._disk())
        if self.limits.size is not None:
            room = min(room, self.limits.size - self._used())
        return room - self._promised

    def _reach(self) -> int:
        disk = self._disk()
        return disk if self.limits.size is None else min(disk, self.limits.size)

    def _free(self) -> int:
        found = os.fstatvfs(self._held.fd)
        return found.f_bavail * found.f_frsize

    def _disk(self) -> int:
        found = os.fstatvfs(self._held.fd)
        return found.f_blocks * found.f_frsize

    def _full(self, size: int) -> CacheFull:
        limit = "" if self.limits.size is None else f"; the cache may take {_bytes(self.limits.size)}"
        return CacheFull(
            f"{self._root}: no room for {_bytes(size)}, and nothing that may go ({_bytes(self._free())} of the "
            f"disk are free, {_bytes(self.limits.floor(self._disk()))} have to stay free{limit})"
        )

    def _evict(self, wanted: int) -> int:
        """Free `wanted` bytes, least recently used first; returns how many it were."""
        if not self._told:
            self._told = True
            log.info("%s: no room; the least recently used chunks make room from now on", self._root)
        freed = 0
        now = time.time()
        for _, free in sorted(self._victims(), key=lambda victim: order(victim[0], now)):
            with contextlib.suppress(OSError, CacheError):  # it could not be opened: the next one
                freed += free(wanted - freed)
            if freed >= wanted:
                break
        self.evicted += freed
        return freed
