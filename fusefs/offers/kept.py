r"""KeptDigests: digests and chunk lists on disk, so that a second start hashes only what changed.

One small file per served file and chunk size.  Its name is the sha256 of the path; its first line says what the file
looked like, and 32 bytes a chunk follow:

    fusefs-kept 2 <size> <mtime_ns> <ctime_ns> <inode> <chunk size> <digest of the file> <digest of what follows>\n

A kept file that is torn, foreign or out of date counts as absent.  It is replaced by rename, and never synced: a lost
one costs hashing, nothing else.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fusefs.cache.guard import check_ours
from fusefs.errors import CacheError, FusefsError
from fusefs.offers.stamp import Stamp, fitting_chunk_size
from fusefs.system.files import read_plain, sweep, write_atomically
from fusefs.system.parents import check_parents
from fusefs.system.spot import Held, unlink_at
from fusefs.values.chunklimits import MAX_CHUNKS
from fusefs.values.chunks import ChunkList
from fusefs.values.digest import Digest

log = logging.getLogger(__name__)

_MAGIC = "fusefs-kept 2"

_MOST = 32 * MAX_CHUNKS + 1024
"""Bytes of a kept file, its first line included."""


@dataclass(frozen=True, slots=True)
class HashedFile:
    """What is known of a file.

    Attributes:
        path: where it lies.
        stamp: what it looked like when it was hashed.
        digest: of the whole file.
        chunks: its chunk list.
    """

    path: Path
    stamp: Stamp
    digest: Digest
    chunks: ChunkList


class KeptDigests:
    """The folder of kept files.  Thread-safe; a folder that cannot be used is a warning, once, and nothing is kept.

    Of a user who has no place for one, nothing is kept either.

    What is kept is believed, so the folder is opened once, checked and held, as the cache is (`fusefs.system.spot`).
    """

    def __init__(self, root: Path | None, chunk_size: int) -> None:
        self._root = Path(os.path.abspath(root)) if root is not None else None
        self._chunk_size = chunk_size
        self._warned = False
        self._held: Held | None = None
        self._opening = threading.Lock()

    def load(self, path: Path, stamp: Stamp) -> HashedFile | None:
        """What is kept of `path`, provided that it was hashed when it had this stamp."""
        if self._root is None:
            return None
        try:
            raw = read_plain(self._folder(self._root) / self._name(path), _MOST)
        except (OSError, CacheError):
            return None
        head, _, packed = raw.partition(b"\n")
        chunk_size = fitting_chunk_size(stamp.size, self._chunk_size)
        try:
            *facts, digest, check = head.decode("ascii").rsplit(" ", 2)
            if facts != [_facts(stamp, chunk_size)] or Digest.parse(check) != Digest.of(packed):
                return None
            chunks = ChunkList.uniform(stamp.size, chunk_size).with_digests(packed)
            return HashedFile(path, stamp, Digest.parse(digest), chunks)
        except (FusefsError, ValueError):  # ValueError: not ASCII, or too few words
            return None

    def save(self, entry: HashedFile) -> None:
        """Keep `entry`, in place of what was kept of its path."""
        if self._root is None:
            return
        packed = entry.chunks.packed()[1] or b""
        facts = _facts(entry.stamp, fitting_chunk_size(entry.stamp.size, self._chunk_size))
        data = f"{facts} {entry.digest} {Digest.of(packed)}\n".encode() + packed
        try:
            folder = self._folder(self._root, make=True)
            write_atomically(folder / self._name(entry.path), data, folder.spot, durable=False)
        except (OSError, CacheError) as exc:
            if not self._warned:
                self._warned = True
                log.warning("Digests cannot be kept in %s (%s); the next start computes them again.", self._root, exc)

    def drop(self, path: Path) -> None:
        """Keep nothing of `path` any more."""
        if self._root is not None:
            with suppress(OSError, CacheError):
                unlink_at(self._folder(self._root) / self._name(path))

    def _folder(self, root: Path, *, make: bool = False) -> Held:
        """The folder, from when it is there.

        Raises:
            OSError, CacheError: it is not, or others could change what is in it.
        """
        with self._opening:
            if self._held is None:
                check_parents(root)
                if make:
                    # Each of them, whatever the umask is: a cache that others can write to is refused.
                    for folder in (root.parent, root):
                        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                held = Held(root)
                check_ours(held)
                sweep(held.spot)
                self._held = held
            return self._held

    def _name(self, path: Path) -> str:
        return f"{Digest.of(os.fsencode(path)).hex}-{self._chunk_size}"


def _facts(stamp: Stamp, chunk_size: int) -> str:
    return f"{_MAGIC} {stamp.size} {stamp.mtime_ns} {stamp.ctime_ns} {stamp.inode} {chunk_size}"
