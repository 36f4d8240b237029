"""Indexer: the entry of a file, from memory, from what is kept on disk, or by hashing it; each file by one thread."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from fusefs.errors import Cancelled, ServeError
from fusefs.serve.index import Stamp, stamped_chunk_list
from fusefs.serve.kept import Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusefs.serve.kept import KeptDigests

    Progress = Callable[[str, int, int], None]
    """Called while a file is hashed: its path, bytes done, bytes in all.  From any thread."""


class Indexer:
    """Thread-safe.

    Attributes:
        bytes_hashed: bytes read in order to hash them, since the start.
    """

    def __init__(self, kept: KeptDigests, chunk_size: int, progress: Progress | None = None) -> None:
        self.bytes_hashed = 0
        self._kept = kept
        self._chunk_size = chunk_size
        self._progress = progress
        self._lock = threading.Lock()
        self._entries: dict[Path, Entry] = {}
        self._hashing: dict[Path, threading.Lock] = {}
        self._stopped = threading.Event()

    def entry(self, path: Path) -> Entry:
        """Digest and chunk list of the file as it is now.

        Raises:
            ServeError: the file cannot be read or changes all the time.
            Cancelled: `stop` was called.
        """
        known = self.known(path)
        if known is not None:
            return known
        with self._lock:
            turn = self._hashing.setdefault(path, threading.Lock())
        with turn:
            # Whoever had the turn before may have hashed the very file that this thread waited for.
            return self.known(path) or self._hash(path)

    def known(self, path: Path) -> Entry | None:
        """As `entry`, but None when the file would have to be hashed."""
        stamp = stamp_of(path)
        entry = self._entries.get(path)
        if entry is not None and entry.stamp == stamp:
            return entry
        entry = self._kept.load(path, stamp)
        if entry is not None:
            self._entries[path] = entry
        return entry

    def forget(self, path: Path) -> None:
        """The file is gone."""
        with self._lock:
            self._entries.pop(path, None)
            self._hashing.pop(path, None)

    def distrust(self, path: Path) -> None:
        """The file is not what its digest says, though its stamp is the same: it is hashed again when it is needed."""
        self._kept.drop(path)
        with self._lock:
            self._entries.pop(path, None)

    def stop(self) -> None:
        """End the hashing that is under way, and refuse more."""
        self._stopped.set()

    def _hash(self, path: Path) -> Entry:
        before = 0

        def report(done: int, size: int) -> None:
            nonlocal before
            if self._stopped.is_set():
                raise Cancelled("the server is stopping")
            with self._lock:
                self.bytes_hashed += done - before
            before = done
            if self._progress is not None:
                self._progress(str(path), done, size)

        digest, chunks, stamp = stamped_chunk_list(path, self._chunk_size, report)
        entry = Entry(path, stamp, digest, chunks)
        self._entries[path] = entry
        self._kept.save(entry)
        return entry


def stamp_of(path: Path) -> Stamp:
    """What the file looks like now.

    Raises:
        ServeError: it is not there or cannot be looked at.
    """
    try:
        return Stamp.of(os.stat(path))
    except (OSError, ValueError) as exc:
        raise ServeError(f"cannot read {path}: {exc}") from exc
