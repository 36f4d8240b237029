"""Keeper: puts manifests into the cache while nobody waits for the disk.

What a power cut leaves of a file that was not synced may be cut off, or zeros.  A manifest that was torn so is noticed
(its blob by its digest, its link because a JSON text with a piece missing or with a NUL in it is none) and counts as
not cached.  A link is replaced only by bytes that are on the disk already, so that no good one is lost to a torn one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from fusefs.errors import CacheError, DigestMismatch, NotCached
from fusefs.system.files import disk_errors, reader_of, sync_file, sync_folder

if TYPE_CHECKING:
    from fusefs.cache.documents.links import Links
    from fusefs.cache.documents.named import NamedBlobs
    from fusefs.system.spot import Where
    from fusefs.values.digest import Digest
    from fusefs.values.names import Name

log = logging.getLogger(__name__)


class Keeper:
    """Thread-safe.  `write` makes what was added survive this process, `sync` a power cut.

    Attributes:
        lost: one line a manifest that the disk did not take.
    """

    def __init__(self, cache: NamedBlobs) -> None:
        self._cache = cache
        self.lost: list[str] = []
        self._waiting: deque[tuple[Name, Digest, bytes]] = deque()
        self._seen: dict[Digest, int] = {}
        self._unsynced: deque[Where] = deque()
        self._writing = threading.Lock()
        self._closed = threading.Event()

    def __len__(self) -> int:
        """Manifests that are not written yet."""
        return len(self._waiting)

    def add(self, name: Name, digest: Digest, raw: bytes) -> None:
        """Keep `raw` under its digest, and under `name` unless that pins one; soon."""
        if digest not in self._seen:
            self._seen[digest] = self.seen(digest) or int(time.time())
        self._waiting.append((name, digest, raw))

    def seen(self, digest: Digest) -> int:
        """When the manifest came into the cache, in seconds since 1970, at every mount (P3); 0 when it did not."""
        if digest in self._seen:
            return self._seen[digest]
        with contextlib.suppress(CacheError):
            return int(self._cache.get(digest).mtime)
        return 0

    def write(self) -> None:
        """Write what was added.  Blocking; what the disk does not take is told in the log."""
        with self._writing:
            links = self._cache.links.remembering()
            while self._waiting:
                name, digest, raw = self._waiting.popleft()
                try:
                    self._write(name, digest, raw, links)
                except CacheError as exc:
                    text = f"{name}: the manifest could not be kept, so it needs the network next time: {exc}"
                    log.warning("%s", text)
                    self.lost.append(text)

    def _write(self, name: Name, digest: Digest, raw: bytes, links: Links) -> None:
        with contextlib.suppress(NotCached, DigestMismatch):
            self._cache.read(digest, len(raw))  # which drops one that has changed on disk
        if self._cache.put(digest, reader_of(raw), len(raw), durable=False, mtime=self._seen[digest]):
            self._unsynced.append(self._cache.place(digest).sealed)
        if name.digest is None:
            with disk_errors(links.root):
                path = links.write(name, raw, durable=False)
            if path is not None:
                self._unsynced.append(path)

    def sync(self) -> None:
        """Have the disk take what was written, one after the other, until it has or `close` is called.  Blocking."""
        if not self._unsynced:
            return
        while self._unsynced and not self._closed.is_set():
            with contextlib.suppress(OSError):  # gone, or a disk that cannot: the digest will tell
                sync_file(self._unsynced.popleft())
        if not self._closed.is_set():
            with contextlib.suppress(OSError):
                sync_folder(self._cache.held / "blobs")

    def work(self) -> None:
        """Both.  Blocking."""
        self.write()
        self.sync()

    def close(self) -> None:
        """Write what is left, and wait for the disk no longer.  Blocking, but short."""
        self._closed.set()
        self.write()
